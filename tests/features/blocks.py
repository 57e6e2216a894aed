"""Small blocks of features on the disk."""

from contextlib import contextmanager

import pytest


@contextmanager
def blocks_of(size):
    """Have features on the disk read in blocks of so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ONE_BLOCK", "BLOCK_BYTES"):
            patch.setattr(f"cnnboost.features.feature_parts.{name}", size)
        yield
