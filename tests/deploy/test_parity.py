"""A graph that differs from its reference is refused, with figures."""

from __future__ import annotations

import numpy as np
import pytest

from cnnboost.deploy.graph import cnn_graph
from cnnboost.deploy.graph_file import serialise
from cnnboost.deploy.parity import EXACT, check_parity
from cnnboost.errors import ModelError


@pytest.fixture(scope="module")
def content(toy_cnn):
    graph = cnn_graph(toy_cnn.model_, pixels="raw", kind="softmax", shape=(8, 8, 1))
    return serialise(graph, {"kind": "cnn"})


def test_what_agrees_passes_with_figures(content, toy_cnn, toy_images):
    X = toy_images[0]
    found = check_parity(content, X, toy_cnn.predict_proba(X), name="cnn.onnx")
    assert [parity.batch for parity in found] == [1, 7, 256]
    for parity in found:
        assert parity.images == 600
        assert parity.agreement == 1
        assert 0 <= parity.median <= parity.largest < 1e-4
        assert parity.agreement >= EXACT.agreement
        assert parity.median < EXACT.median


def test_other_labels_are_refused(content, toy_cnn, toy_images):
    X = toy_images[0]
    reference = toy_cnn.predict_proba(X)
    reference[:6] = np.roll(reference[:6], 1, axis=1)
    with pytest.raises(ModelError, match=r"labels of 99\.00% of 600 images agree .* not written"):
        check_parity(content, X, reference, name="cnn.onnx")


def test_one_image_in_a_thousand_may_jump(content, toy_cnn, toy_images):
    X = np.concatenate([toy_images[0], toy_images[0]])
    reference = toy_cnn.predict_proba(X)
    reference[0] = np.roll(reference[0], 1)
    assert check_parity(content, X, reference, name="cnn.onnx")[0].largest > 0.1


@pytest.mark.parametrize(
    ("images", "others", "fine"),
    [(5, 0, True), (5, 1, False), (40, 1, True), (40, 2, False), (600, 1, True), (600, 2, False)],
)
def test_few_images_cannot_show_a_share(content, toy_cnn, toy_images, images, others, fine):
    X = toy_images[0][:images]
    reference = toy_cnn.predict_proba(X)
    reference[:others] = np.roll(reference[:others], 1, axis=1)
    if fine:
        assert check_parity(content, X, reference, name="cnn.onnx")[0].images == images
    else:
        words = rf"give more images \({images} given, 1000 are compared\), or use fewer rounds"
        with pytest.raises(ModelError, match=words):
            check_parity(content, X, reference, name="cnn.onnx")


def test_probabilities_that_are_all_a_little_off_are_refused(content, toy_cnn, toy_images):
    X = toy_images[0]
    reference = 0.999 * toy_cnn.predict_proba(X) + 0.0001
    with pytest.raises(ModelError, match=r"median difference of probabilities is 0\.0001 .* not written"):
        check_parity(content, X, reference, name="cnn.onnx")


def test_another_number_of_classes_is_refused(content, toy_cnn, toy_images):
    X = toy_images[0]
    with pytest.raises(ModelError, match=r"shape \(600, 10\) instead of \(600, 9\)"):
        check_parity(content, X, toy_cnn.predict_proba(X)[:, :9], name="cnn.onnx")


def test_a_graph_that_does_not_run_is_refused(toy_images):
    with pytest.raises(ModelError, match=r"cannot run cnn\.onnx"):
        check_parity(b"no graph", toy_images[0], np.zeros((600, 10)), name="cnn.onnx")


def test_many_views_are_compared_in_smaller_batches(content, toy_cnn, toy_images):
    X = toy_images[0]
    reference = toy_cnn.predict_proba(X)
    for views, batches in ((2, [1, 7, 128]), (10, [1, 7, 25]), (100, [1, 7])):
        found = check_parity(content, X, reference, name="cnn.onnx", views=views)
        assert [parity.batch for parity in found] == batches
