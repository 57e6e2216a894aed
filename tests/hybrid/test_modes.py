"""A head in each mode: what it adds to the softmax, and nothing where there is nothing to add."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from cnnboost.boost import BoostClassifier
from cnnboost.errors import DataError, ParameterError
from cnnboost.hybrid.calibration import fit_temperature, tempered
from cnnboost.hybrid.modes import FittedMode, HeadInputs, fit_mode

K = 3


def problem(n=900, seed=0, informative=True):
    """Return images as a head sees them: the network knows a part of it all, and is too sure."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    known = np.stack([X[:, 0], X[:, 1], -X[:, 0]], axis=1)
    more = np.stack([2.0 * (X[:, 2] > 0), X[:, 3], 2.0 * (X[:, 2] < 0) * (X[:, 4] > 0)], axis=1)
    scores = known + more if informative else known
    codes = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    log_proba = log_softmax(2 * known, axis=1).astype(np.float32)
    return HeadInputs(X, log_proba, codes)


def boost(**parameters):
    metadata = {"n_estimators": 60, "max_depth": 2, "learning_rate": 0.1, "n_jobs": 1, **parameters}
    return BoostClassifier(**metadata)


def loss(fitted, seen):
    return log_loss(seen.codes, fitted.predict_proba(seen.features, seen.log_proba), labels=range(K))


def calibrated(seen, new):
    temperature = fit_temperature(seen.log_proba, seen.codes)
    return log_loss(new.codes, tempered(new.log_proba, temperature), labels=range(K))


@pytest.mark.parametrize("mode", ["residual", "blend"])
@pytest.mark.parametrize("chosen_on", ["folds", "watched"])
def test_it_betters_the_softmax_where_the_features_hold_more(mode, chosen_on):
    seen, watched, new = problem(), problem(600, 1), problem(2000, 2)
    fitted = fit_mode(mode, boost(), seen, K, watched=watched if chosen_on == "watched" else None)
    assert fitted.temperature > 1.5
    assert fitted.boost.n_estimators_ > 0
    assert loss(fitted, new) < 0.97 * calibrated(seen, new)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["residual", "blend"])
def test_it_is_not_worse_where_they_hold_nothing(mode, seed):
    seen, new = problem(600, seed, informative=False), problem(2000, 10 + seed, informative=False)
    fitted = fit_mode(mode, boost(max_depth=4), seen, K, seed=seed)
    # Noise: what a temperature fitted on 600 rows may be off.
    assert loss(fitted, new) <= calibrated(seen, new) + 0.01


def test_no_round_at_all_is_the_calibrated_softmax():
    rng = np.random.default_rng(3)
    seen = problem(300, 3, informative=False)
    noise = seen._replace(features=rng.normal(size=seen.features.shape).astype(np.float32))
    fitted = fit_mode("residual", boost(max_depth=6, learning_rate=1.0, min_child_weight=0), noise, K)
    assert fitted.boost.n_estimators_ == 0
    expected = tempered(noise.log_proba, fitted.temperature)
    np.testing.assert_allclose(fitted.predict_proba(noise.features, noise.log_proba), expected, atol=1e-6)


def test_plain_is_the_trees_alone():
    seen = problem(300)
    fitted = fit_mode("plain", boost(), seen, K)
    alone = boost(classes=[0, 1, 2]).fit(seen.features, seen.codes)
    np.testing.assert_array_equal(
        fitted.predict_proba(seen.features, seen.log_proba), alone.predict_proba(seen.features)
    )


def test_a_blend_is_a_mixture():
    seen = problem(300)
    fitted = fit_mode("blend", boost(), seen, K)
    assert 0 < fitted.weight < 1
    trees = fitted.boost.predict_proba(seen.features)
    softmax = tempered(seen.log_proba, fitted.temperature)
    np.testing.assert_allclose(
        fitted.predict_proba(seen.features, seen.log_proba),
        fitted.weight * softmax + (1 - fitted.weight) * trees,
        atol=1e-6,
    )
    ends = [
        FittedMode("blend", fitted.boost, fitted.temperature, weight).predict_proba(
            seen.features, seen.log_proba
        )
        for weight in (0.0, 1.0)
    ]
    np.testing.assert_allclose(ends, [trees, softmax], atol=1e-6)


def test_views_of_an_image_stay_together(monkeypatch):
    seen = problem(200)
    doubled = HeadInputs(
        *(np.concatenate([part, part]) for part in (seen.features, seen.log_proba, seen.codes)),
        groups=np.tile(np.arange(200), 2),
    )
    fits = []
    original = BoostClassifier.fit

    def noted(self, X, y, **options):
        fits.append((X, options.get("validation_data")))
        return original(self, X, y, **options)

    monkeypatch.setattr(BoostClassifier, "fit", noted)
    fit_mode("residual", boost(n_estimators=2), doubled, K)
    watched = [(X, data[0]) for X, data in fits if data is not None]
    assert len(watched) == 5
    for grown, left_out in watched:
        assert not {row.tobytes() for row in grown} & {row.tobytes() for row in left_out}


def test_equal_seeds_give_equal_heads():
    seen = problem(300)
    one, two = (fit_mode("residual", boost(subsample=0.7), seen, K, seed=4) for _ in range(2))
    np.testing.assert_array_equal(
        one.predict_proba(seen.features, seen.log_proba), two.predict_proba(seen.features, seen.log_proba)
    )


def test_what_cannot_be_is_refused():
    seen = problem(100)
    with pytest.raises(ParameterError, match="unknown mode='stacked'; valid modes: plain, residual, blend"):
        fit_mode("stacked", boost(), seen, K)
    rare = seen.take(np.flatnonzero((seen.codes != 2) | (np.cumsum(seen.codes == 2) <= 3)))
    with pytest.raises(DataError, match="class number 2 has 3 different images, and 5 folds need 5"):
        fit_mode("residual", boost(), rare, K)
