"""A temperature makes a softmax as sure as it is right; vector scaling finds what was done to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from cnnboost.hybrid.calibration import (
    HIGHEST,
    LOWEST,
    VectorScaling,
    fit_temperature,
    log_probabilities,
    tempered,
)
from tests.hybrid.test_modes import K


def drawn(factor, n=4000, k=4, seed=0):
    """Return log-probabilities of a model that is `factor` times as sure as it should be, and labels."""
    rng = np.random.default_rng(seed)
    honest = log_softmax(rng.normal(scale=1.5, size=(n, k)), axis=1)
    codes = (honest + rng.gumbel(size=honest.shape)).argmax(axis=1)
    return log_softmax(factor * honest, axis=1), codes


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_it_finds_how_much_too_sure_a_model_is(factor):
    log_proba, codes = drawn(factor)
    assert fit_temperature(log_proba, codes) == pytest.approx(factor, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_no_other_temperature_is_better_and_no_prediction_changes(seed, factor):
    log_proba, codes = drawn(factor, n=200, seed=seed)
    best = fit_temperature(log_proba, codes)
    assert LOWEST <= best <= HIGHEST

    def loss(temperature):
        return -np.log(tempered(log_proba, temperature)[np.arange(len(codes)), codes]).mean()

    assert all(loss(best) <= loss(best * step) + 1e-5 for step in (0.8, 0.95, 1.05, 1.25))
    np.testing.assert_array_equal(tempered(log_proba, best).argmax(axis=1), log_proba.argmax(axis=1))


def test_labels_that_are_certain_end_at_the_bounds():
    log_proba = np.log(np.array([[0.6, 0.4]] * 5))
    assert fit_temperature(log_proba, np.zeros(5, int)) == pytest.approx(LOWEST, rel=0.01)
    assert fit_temperature(log_proba, np.ones(5, int)) == pytest.approx(HIGHEST, rel=0.01)


def test_a_probability_of_nought_has_a_finite_logarithm():
    found = log_probabilities(np.array([[1.0, 0.0], [0.25, 0.75]], np.float32))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found), [[1, 0], [0.25, 0.75]], atol=1e-7)


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
