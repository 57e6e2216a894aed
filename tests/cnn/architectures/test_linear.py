import numpy as np
import pytest

from cnnboost.cnn.architectures import build


def test_it_is_one_softmax_over_the_pixels():
    model = build("linear", (48, 48, 1), 7)
    assert model.count_params() == 16_135
    X = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    weights, bias = model.get_layer("output").get_weights()
    scores = X.reshape(3, -1) / 255 @ weights + bias
    wanted = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(model(X, training=False)), wanted, rtol=1e-4)


def test_with_two_classes_it_is_a_logistic_regression():
    model = build("linear", (48, 48, 1), 2)
    X = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    weights, bias = model.get_layer("output").get_weights()
    score = X.reshape(3, -1) / 255 @ (weights[:, 1] - weights[:, 0]) + bias[1] - bias[0]
    np.testing.assert_allclose(
        np.asarray(model(X, training=False))[:, 1], 1 / (1 + np.exp(-score)), rtol=1e-4
    )


def test_the_penalty_is_an_option():
    assert build("linear", (8, 8, 1), 7).get_layer("output").kernel_regularizer is None
    penalty = build("linear", (8, 8, 1), 7, {"l2": 0.01}).get_layer("output").kernel_regularizer
    assert penalty.l2 == pytest.approx(0.01)
