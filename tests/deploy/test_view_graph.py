"""The views of a graph are those of the library, and the mean over them is theirs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnboost.deploy.graph_builder import GraphBuilder
from cnnboost.deploy.view_graph import add_mean, add_views
from cnnboost.errors import ParameterError
from cnnboost.images.views import TTA, views

MANY = [tta for tta in TTA if tta != "none"]


def look(X, tta):
    """Return the views that the graph makes, (k, n, height, width, channels)."""
    draft = GraphBuilder(X.shape[1:])
    name = add_views(draft, tta)
    model = draft.model()
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["views", *X.shape[1:]])
    )
    onnx.checker.check_model(model, full_check=True)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": X})[0]
    assert found.dtype == np.float32
    return found.reshape(len(X), TTA[tta], *X.shape[1:]).swapaxes(0, 1)


def same(X, tta):
    found, expected = look(X, tta), np.stack(list(views(X, tta)))
    if tta == "ten-crop":
        np.testing.assert_allclose(found, expected, atol=1e-4)  # in 0..255
    else:
        np.testing.assert_array_equal(found, expected)


IMAGES = st.tuples(
    st.integers(1, 4), st.integers(3, 14), st.integers(3, 14), st.sampled_from([1, 3])
).flatmap(lambda shape: hnp.arrays(np.uint8, shape))


@settings(max_examples=30, deadline=None)
@given(IMAGES, st.sampled_from(list(TTA)))
def test_they_are_those_of_the_library(X, tta):
    same(X, tta)


@pytest.mark.parametrize("tta", list(TTA))
@pytest.mark.parametrize("shape", [(48, 48, 1), (30, 52, 3)])
@pytest.mark.parametrize("n", [1, 7, 64])
def test_sizes_of_images_and_batches(tta, shape, n):
    same(np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8), tta)


def test_one_that_leaves_nothing_is_refused():
    with pytest.raises(ParameterError, match=r"leaves nothing of 2x20 images; use 'flip'"):
        add_views(GraphBuilder((2, 20, 1)), "ten-crop")
    with pytest.raises(ParameterError, match=r"tta='ten' is unknown"):
        add_views(GraphBuilder((8, 8, 1)), "ten")


@pytest.mark.parametrize("tta", MANY)
def test_the_mean_is_over_the_views_of_each_image(tta):
    # The mean over the mean of all pixels of each view, by the graph and by hand.
    X = np.random.default_rng(0).integers(0, 256, (5, 12, 9, 1), dtype=np.uint8)
    draft = GraphBuilder(X.shape[1:])
    flat = draft.add("Flatten", [add_views(draft, tta)])
    pixels = 12 * 9
    draft.finish(add_mean(draft, flat, tta, pixels), pixels)
    content = draft.model().SerializeToString()
    found = onnxruntime.InferenceSession(content).run(["probabilities"], {"image": X})[0]
    expected = np.mean([view.reshape(5, -1) for view in views(X.astype(np.float64), tta)], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_no_view_costs_nothing():
    draft = GraphBuilder((8, 8, 1))
    assert add_mean(draft, add_views(draft, "none"), "none", 3) == draft.model().graph.node[0].output[0]
    assert [node.op_type for node in draft.model().graph.node] == ["Cast"]
