"""What a worker of a cluster computes; the commands that use it are tried in tests/stages."""

import numpy as np
import pytest

from cnnboost.deploy.worker import tree_probabilities
from cnnboost.errors import StoreError
from cnnboost.files import file_digest


def test_another_head_under_the_same_name_is_refused(tmp_path):
    path = tmp_path / "head.ubj"
    path.write_bytes(b"the head of the command")
    digest = file_digest(path)
    path.write_bytes(b"another one")
    with pytest.raises(StoreError, match=r"head\.ubj was altered while it was in use"):
        tree_probabilities((path, digest), np.zeros((2, 3), np.float32))
