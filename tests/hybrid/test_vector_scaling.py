"""Vector scaling: it finds what was done to log-probabilities, and is held where nothing tells."""

from __future__ import annotations

import numpy as np

from cnnboost.hybrid.vector_scaling import VectorScaling
from tests.hybrid.test_modes import K


def test_factors_and_offsets_are_found():
    """Factors and offsets that were put on the log-probabilities are taken back."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6000, K)) * 2
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(K, p=row) for row in proba])
    factors, offsets = np.linspace(0.5, 2, K), np.linspace(-1, 1, K)
    found = VectorScaling().fit((logits - offsets) / factors, y)
    np.testing.assert_allclose(found.factors_, factors, rtol=0.15)
    np.testing.assert_allclose(found.offsets_ - found.offsets_.mean(), offsets, atol=0.15)


def test_a_large_penalty_holds_the_factors():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(600, K)), rng.integers(0, K, 600)
    held = VectorScaling(penalty=1e6).fit(logits, y)
    np.testing.assert_allclose(held.factors_, 1, atol=1e-4)
