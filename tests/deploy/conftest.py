"""Hybrids that several tests export."""

import numpy as np
import pytest

from cnnboost import BoostClassifier, HybridClassifier


@pytest.fixture(scope="session")
def fit_hybrid(toy_cnn, toy_images):
    """Return a function that fits a small hybrid, by default of the toy CNN."""

    def fit(cnn=None, images=None, **parameters):
        boost = BoostClassifier(n_estimators=4, max_depth=2, learning_rate=0.3, n_jobs=1)
        hybrid = HybridClassifier(cnn or toy_cnn, **{"boost": boost, **parameters})
        return hybrid.fit(*(images or toy_images))

    return fit


@pytest.fixture(scope="session")
def hybrids(fit_hybrid):
    """A hybrid in each mode; change nothing but their `tta`."""
    return {mode: fit_hybrid(mode=mode) for mode in ("plain", "residual", "blend")}


@pytest.fixture(scope="session")
def images():
    """Random pixels for a small graph."""
    return np.random.default_rng(0).integers(0, 256, (5000, 8, 8, 1), dtype=np.uint8)
