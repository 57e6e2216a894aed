"""A trained network is asked for probabilities, of an image or of several views of it."""

from __future__ import annotations

import numpy as np
import pytest

from cnnboost import CNNClassifier
from cnnboost.cnn.architectures import build
from cnnboost.errors import ParameterError
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.images.views import TTA, views


@pytest.fixture
def seen(toy_cnn, toy_images):
    """Return the toy CNN as an estimator of its own, whose parameters a test may set, and images."""
    return CNNClassifier.from_model(toy_cnn.model_, classes=toy_cnn.classes_, pixels="raw"), toy_images[0][
        :40
    ]


@pytest.mark.parametrize("tta", [name for name in TTA if name != "none"])
def test_probabilities_are_the_mean_over_the_views(seen, tta):
    cnn, X = seen
    once = cnn.predict_proba(X)
    found = cnn.set_params(tta=tta).predict_proba(X)
    wanted = np.mean([cnn.predict_view_proba(view) for view in views(X, tta)], axis=0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_array_equal(cnn.predict(X), cnn.classes_[found.argmax(axis=1)])
    assert np.abs(found - once).max() > 1e-3
    np.testing.assert_array_equal(cnn.predict_view_proba(X), once)


@pytest.mark.parametrize("tta", sorted(TTA))
@pytest.mark.parametrize("level", [0, 1, 255])
def test_white_and_nearly_black_images_have_views_like_any_other(level, tta):
    cnn = CNNClassifier.from_model(build("digits", (48, 48, 1), 3)).set_params(tta=tta)
    X = np.full((2, 48, 48, 1), level, np.uint8)
    X[0, 10:20, 10:20] = 0
    found = cnn.predict_proba(X)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_an_unknown_kind_of_views_is_refused_before_training(toy_images):
    X, y = toy_images
    cnn = CNNClassifier("digits", epochs=1, tta="flips")
    with pytest.raises(ParameterError, match="tta='flips' is unknown; there are none, flip"):
        cnn.fit(X[:50], y[:50])
    assert not hasattr(cnn, "model_")


def test_the_views_of_a_hybrid_are_its_own(seen):
    cnn, X = seen
    other = CNNClassifier.from_model(cnn.model_, classes=cnn.classes_, pixels="raw")
    alone = FeatureExtractor([cnn, other], ["fc1"], norm=False)(X)
    other.set_params(tta="flip")
    for found, wanted in zip(FeatureExtractor([cnn, other], ["fc1"], norm=False)(X), alone, strict=True):
        np.testing.assert_array_equal(found, wanted)
