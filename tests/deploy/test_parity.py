"""A graph that differs from its reference is refused, with figures."""

from __future__ import annotations

import numpy as np
import pytest

from cnnboost.deploy.graph import cnn_graph
from cnnboost.deploy.graph_file import serialise
from cnnboost.deploy.parity import check_parity
from cnnboost.errors import ModelError


@pytest.fixture(scope="module")
def content(toy_cnn):
    graph = cnn_graph(toy_cnn.model_, pixels="raw", kind="softmax", shape=(8, 8, 1))
    return serialise(graph, {"kind": "cnn"})


@pytest.mark.parametrize(("views", "batches"), [(1, [1, 7, 256]), (2, [1, 7, 128]), (100, [1, 7])])
def test_what_agrees_passes_with_figures(content, toy_cnn, toy_images, views, batches):
    X = toy_images[0]
    found = check_parity(content, X, toy_cnn.predict_proba(X), name="cnn.onnx", views=views)
    assert [parity.batch for parity in found] == batches
    for parity in found:
        assert (parity.images, parity.agreement) == (600, 1)
        assert 0 <= parity.median <= parity.largest < 1e-4


@pytest.mark.parametrize(
    ("images", "others", "fine"),
    [(5, 0, True), (5, 1, False), (40, 1, True), (40, 2, False), (600, 1, True), (600, 2, False)],
)
def test_few_images_cannot_show_a_share(content, toy_cnn, toy_images, images, others, fine):
    X = toy_images[0][:images]
    reference = toy_cnn.predict_proba(X)
    reference[:others] = np.roll(reference[:others], 1, axis=1)
    if fine:
        found = check_parity(content, X, reference, name="cnn.onnx")[0]
        assert (found.images, found.largest > 0.1) == (images, others > 0)
    else:
        words = rf"not written.*more images \({images} given, 1000 are compared\), or use fewer rounds"
        with pytest.raises(ModelError, match=words):
            check_parity(content, X, reference, name="cnn.onnx")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda proba: np.roll(proba, 1, axis=1), r"labels of [\d.]+% of 600 images agree .* not written"),
        (lambda proba: 0.999 * proba + 0.0001, r"median difference .* is 0\.0001 .* not written.*in Keras"),
        (lambda proba: proba[:, :9], r"shape \(600, 10\) instead of \(600, 9\)"),
    ],
)
def test_what_differs_is_refused(content, toy_cnn, toy_images, change, words):
    X = toy_images[0]
    with pytest.raises(ModelError, match=words):
        check_parity(content, X, change(toy_cnn.predict_proba(X)), name="cnn.onnx")


def test_a_graph_that_does_not_run_is_refused(toy_images):
    with pytest.raises(ModelError, match=r"cannot run cnn\.onnx"):
        check_parity(b"no graph", toy_images[0], np.zeros((600, 10)), name="cnn.onnx")
