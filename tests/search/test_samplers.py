"""From coarse to fine: each stage draws from narrower ranges around the best trial before it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.config import Search, Space
from cnnboost.search.samplers import sampler_for, stage_ranges

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = {
    "rate": Space(low=1e-4, high=1.0, log=True),
    "gamma": Space(low=0.0, high=0.8, step=0.1),
    "depth": Space(low=2, high=12),
    "kind": Space(choices=("a", "b")),
}


def metadata(trials=12, stages=3, **more):
    return Search(space=SPACE, sampler="random", trials=trials, stages=stages, **more)


def ended(n, best=0, sign=1, **params):
    """Return n trials of which one is the best."""
    middle = {"rate": 1e-2, "gamma": 0.4, "depth": 7, "kind": "a", **params}
    return [SimpleNamespace(value=sign * float(i == best), params=middle, user_attrs={}) for i in range(n)]


def test_each_stage_halves_the_ranges_in_the_logarithm_where_the_space_is_so():
    for stage, n in ((1, 4), (2, 8), (2, 40)):
        ranges = stage_ranges(metadata(), ended(n))
        low, high = ranges["rate"]
        assert math.log10(high / low) == pytest.approx(4 * 0.5**stage)
        assert math.sqrt(low * high) == pytest.approx(1e-2)
        assert ranges["gamma"] == pytest.approx((0.4 - 0.4 * 0.5**stage, 0.4 + 0.4 * 0.5**stage))
        assert "kind" not in ranges


def test_ranges_end_where_the_stated_range_ends():
    ranges = stage_ranges(metadata(), ended(4, rate=1e-4, gamma=0.8))
    assert ranges["rate"] == pytest.approx((1e-4, 1e-3))
    assert ranges["rate"][0] >= 1e-4
    assert ranges["gamma"] == pytest.approx((0.6, 0.8))


def test_the_best_one_is_the_lowest_loss_and_comes_from_an_earlier_stage():
    worse, better = ended(2, best=1, rate=1e-3), ended(2, best=0, rate=1e-1)
    trials = [*worse, *better]
    trials[0].value, trials[1].value, trials[2].value, trials[3].value = 3.0, 2.0, 1.0, 2.0
    low, high = stage_ranges(metadata(metric="log_loss"), trials)["rate"]
    assert math.sqrt(low * high) == pytest.approx(1e-1)
    # What the running stage found moves the ranges of the next one only.
    trials.append(SimpleNamespace(value=0.1, params={**trials[0].params, "rate": 1e-3}, user_attrs={}))
    assert stage_ranges(metadata(metric="log_loss"), trials)["rate"] == (low, high)


def test_the_first_stage_and_failed_trials_narrow_nothing():
    failed = [SimpleNamespace(value=None, params={}, user_attrs={"error": "no"}) for _ in range(4)]
    for trials, stages in ((ended(3), 3), (ended(9), 1), (failed, 3)):
        assert stage_ranges(metadata(stages=stages), trials) == {}


@given(st.floats(1e-4, 1.0), st.integers(0, 8), st.integers(2, 12), st.integers(4, 20))
def test_draws_lie_in_the_stage_and_on_the_stated_steps(rate, tenths, depth, n):
    trials = ended(n, rate=rate, gamma=tenths / 10, depth=depth)
    ranges = stage_ranges(metadata(), trials)
    study = optuna.create_study(sampler=sampler_for(metadata(), trials))
    trial = study.ask()
    drawn = {
        "rate": trial.suggest_float("rate", 1e-4, 1.0, log=True),
        "gamma": trial.suggest_float("gamma", 0.0, 0.8, step=0.1),
        "depth": trial.suggest_int("depth", 2, 12),
    }
    for key, value in drawn.items():
        low, high = ranges[key]
        assert low - 1e-9 <= value <= high + 1e-9
    assert drawn["gamma"] * 10 == pytest.approx(round(drawn["gamma"] * 10))
    # The stated ranges are what is stored: importances compare trials over equal ranges.
    assert trial.distributions["rate"].low == 1e-4


def test_every_trial_draws_something_else():
    drawn = set()
    for n in range(20):
        study = optuna.create_study(sampler=sampler_for(metadata(stages=1), ended(n)))
        drawn.add(study.ask().suggest_float("rate", 1e-4, 1.0, log=True))
    assert len(drawn) == 20
