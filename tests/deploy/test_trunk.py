"""Exported trunks: equal to Keras' up to rounding, and in a file of their own while workers read them."""

from __future__ import annotations

import numpy as np
import pytest

from cnnboost.deploy.trunk import check_features, opened, shared_graph, trunk_file
from cnnboost.errors import ModelError, StoreError

from .small_graph import expected, small_file


def test_a_trunk_that_is_not_that_of_keras_is_refused(toy_cnn, toy_images):
    from cnnboost.cnn.inference import Inference
    from cnnboost.features.cut import Cut

    X = toy_images[0][:20]
    cut = Cut(toy_cnn.model_)
    trunk, places = cut.trunk(["fc1"]), [cut.find("fc1")]
    right = Inference(trunk, "raw")(X)
    check_features(trunk_file(trunk, places, pixels="raw", shape=X.shape[1:]), right, X, places)
    wrong = trunk_file(trunk, places, pixels="unit", shape=X.shape[1:])
    with pytest.raises(ModelError, match="differs from Keras at fc1"):
        check_features(wrong, right, X, places)


def test_two_clients_that_share_one_graph_do_not_take_it_from_each_other(tmp_path, images):
    content = small_file()
    opened.cache_clear()
    with shared_graph(content, tmp_path) as first:
        with shared_graph(content, tmp_path) as second:
            assert first.path != second.path
            assert first == second  # a worker opens it once
        assert not second.path.exists()
        np.testing.assert_allclose(opened(first)(images[:40])[0], expected(images[:40]), atol=1e-6)
        opened.cache_clear()
        first.path.write_bytes(content[:-1])
        with pytest.raises(StoreError, match="is not the graph that was exported"):
            opened(first)
    assert not list(tmp_path.iterdir())
