"""A residual head is never worse than the calibrated softmax that it starts from, by more than noise.

Noise: its mean log-loss is no higher by more than two standard errors of the differences image by image, and
its accuracy not significantly lower. No image has decided anything about its own score.

Besides the digits there are two sets of images whose truth is known, under a CNN whose weights are written
down. In one the CNN says all there is to know, so that trees can only spoil it. In the other it overlooks
what one of its features shows, so that a head that did nothing would be found out.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import load_digits

from cnnboost import BoostClassifier, CNNClassifier
from cnnboost.hybrid.crossfit import CrossFit
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.metrics.comparison import compare

SEEDS = range(2)
CLASSES = 3
SIDE = 8
#: How much surer the CNN is than it may be; calibration has to take it back.
TOO_SURE = 2.0
#: The scores of a class rise by it from a black band to a white one.
SHARPNESS = 6.0
TREES = {
    # As `HybridClassifier` grows them, but for fewer and larger steps.
    "shallow": {"max_depth": 3, "learning_rate": 0.1, "min_child_weight": 20, "subsample": 0.7,
                "colsample_bytree": 0.5, "n_estimators": 30},
    # These learn noise in one round.
    "greedy": {"max_depth": 5, "learning_rate": 0.3, "min_child_weight": 1, "n_estimators": 10},
}  # fmt: skip


def boost(kind, seed):
    return BoostClassifier(**TREES[kind], n_jobs=1, random_state=seed)


def synthetic(seed, n=900, *, overlooked=False):
    """Return images of four bright or dark bands, and labels that the first three of them decide by chance.

    A label is drawn from the softmax of the first three bands' brightness. With `overlooked`, a bright fourth
    band swaps the last two classes.
    """
    rng = np.random.default_rng(seed)
    bands = rng.uniform(40, 215, (n, CLASSES + 1))
    rows = np.repeat(bands, SIDE // (CLASSES + 1), axis=1)[:, :, None, None]
    X = np.clip(np.rint(rows + rng.normal(scale=20, size=(n, SIDE, SIDE, 1))), 0, 255).astype(np.uint8)
    # What the pixels say, not what they were drawn from: it is what the CNN sees.
    seen = X.reshape(n, CLASSES + 1, -1).mean(axis=2) / 255
    proba = softmax(SHARPNESS * seen[:, :CLASSES], axis=1)
    codes = (proba.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    if overlooked:
        swapped = np.array([0, 2, 1])[codes]
        codes = np.where(seen[:, CLASSES] > 0.5, swapped, codes)
    return X, codes


@pytest.fixture(scope="module")
def band_cnn():
    """Return a CNN whose `fc1` is the brightness of four bands; its softmax knows the first three alone."""
    import keras

    image = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Flatten()(x)
    bands = keras.layers.Dense(CLASSES + 1, activation="relu", use_bias=False)
    scores = keras.layers.Dense(CLASSES, activation="softmax", use_bias=False)
    model = keras.Model(image, scores(bands(x)))
    pixels = SIDE * SIDE // (CLASSES + 1)
    bands.set_weights([np.repeat(np.eye(CLASSES + 1), pixels, axis=0) / pixels])
    scores.set_weights([TOO_SURE * SHARPNESS * np.eye(CLASSES + 1, CLASSES)])
    return CNNClassifier.from_model(model, classes=list(range(CLASSES)), pixels="raw")


@pytest.fixture(scope="module")
def new_digits(toy_images):
    """Digits that the toy CNN was not trained on."""
    X, y = load_digits(return_X_y=True)
    seen = len(toy_images[0])
    return np.rint(X[seen:] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1), y[seen:]


def compared(cnn, X, codes, trees, seed, grown_on=None):
    """Return the calibrated softmax and the residual head, no image having chosen anything for itself."""
    extractor = FeatureExtractor([cnn], ["fc1"], norm=False)
    fit = CrossFit([extractor.grown(X, codes)], X, len(cnn.classes_), folds=3, seed=seed)
    grown = None if grown_on is None else extractor.grown(*grown_on)
    return fit.softmax()[1], fit.head("residual", boost(trees, seed), grown)


def gain(codes, calibrated, residual):
    """Return by how much the log-loss falls, and the standard error of that, image by image."""
    was, now = (
        -np.log(np.maximum(found.proba[np.arange(len(codes)), codes].astype(np.float64), 1e-15))
        for found in (calibrated, residual)
    )
    return (was - now).mean(), (was - now).std(ddof=1) / np.sqrt(len(codes))


def assert_never_worse(codes, calibrated, residual):
    gained, noise = gain(codes, calibrated, residual)
    # Without a round the two differ by the rounding of float32 alone.
    assert gained >= -2 * noise - 1e-6
    found = compare(codes, calibrated.proba, residual.proba, names=("the softmax", "residual"))
    assert found.difference >= 0 or found.p_value >= 0.01, found.verdict


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("grown", ["on the other folds", "on what the CNN was trained on"])
def test_on_digits(toy_cnn, toy_images, new_digits, grown, seed):
    X, y = new_digits
    grown_on = None if grown == "on the other folds" else toy_images
    assert_never_worse(y, *compared(toy_cnn, X, y, "shallow", seed, grown_on))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("trees", TREES)
def test_where_the_softmax_says_all_there_is(band_cnn, trees, seed):
    X, codes = synthetic(seed)
    calibrated, residual = compared(band_cnn, X, codes, trees, seed)
    # The temperature undoes what the CNN is too sure of, so that the softmax is the truth.
    np.testing.assert_allclose(calibrated.temperatures, TOO_SURE, rtol=0.2)
    assert_never_worse(codes, calibrated, residual)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("trees", TREES)
def test_where_a_feature_shows_what_the_softmax_overlooks(band_cnn, trees, seed):
    X, codes = synthetic(seed, overlooked=True)
    calibrated, residual = compared(band_cnn, X, codes, trees, seed)
    assert_never_worse(codes, calibrated, residual)
    assert min(residual.rounds) > 0
    gained, noise = gain(codes, calibrated, residual)
    assert gained > 5 * noise
    found = compare(codes, calibrated.proba, residual.proba)
    assert found.difference > 0
    assert found.p_value < 1e-3
