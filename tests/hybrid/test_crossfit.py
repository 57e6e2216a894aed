"""Cross-fitting: no image decides anything about its own score."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from cnnboost.boost import BoostClassifier
from cnnboost.config.outcomes import Head
from cnnboost.errors import DataError, ParameterError
from cnnboost.holdout import groups_of
from cnnboost.hybrid.crossfit import BagFit, CrossFit
from cnnboost.hybrid.modes import HeadInputs, fit_mode
from cnnboost.hybrid.rivals import rivals_of
from tests.hybrid.test_modes import K, boost, problem


def crossfit(seen, folds=3, seed=0, images=None, views=None, grown=None):
    images = seen.features if images is None else images
    return CrossFit(views or [seen], images, K, folds=folds, seed=seed, grown=grown)


def with_turned_labels(seen):
    """Return a cross-fit, one in which the labels of its first fold are turned, and the rows of that fold."""
    fit = crossfit(seen)
    scored = fit._parts[0][1]
    turned = seen.codes.copy()
    turned[scored] = (turned[scored] + 1) % K
    other = crossfit(seen._replace(codes=turned))
    other._parts = fit._parts
    return fit, other, scored


@pytest.mark.parametrize("mode", ["plain", "residual", "blend"])
@pytest.mark.parametrize("grown", [True, False])
def test_labels_of_an_image_do_not_reach_its_own_score(mode, grown):
    """Turn the labels of one fold: its own probabilities stay, those of the others change."""
    seen, others = problem(240), problem(300, 1)
    fit, other, scored = with_turned_labels(seen)
    one, two = (f.head(mode, boost(n_estimators=8), others if grown else None) for f in (fit, other))
    np.testing.assert_array_equal(one.proba[scored], two.proba[scored])
    if not (grown and mode == "plain"):
        assert not np.array_equal(one.proba, two.proba)
    for name in ("softmax",):
        a, b = (getattr(f, name)()[1].proba[scored] for f in (fit, other))
        np.testing.assert_array_equal(a, b)


def test_the_calibrated_softmax_is_better_and_calls_the_same():
    seen = problem(900)
    as_it_is, calibrated = crossfit(seen).softmax()
    assert (as_it_is.proba.argmax(axis=1) == calibrated.proba.argmax(axis=1)).all()
    assert log_loss(seen.codes, calibrated.proba) < log_loss(seen.codes, as_it_is.proba)
    assert len(calibrated.temperatures) == 3
    np.testing.assert_allclose(as_it_is.proba, np.exp(seen.log_proba), atol=1e-5)


def test_plain_trees_are_grown_once(monkeypatch):
    grown = []
    original = BoostClassifier.fit
    monkeypatch.setattr(
        BoostClassifier, "fit", lambda self, *a, **k: grown.append(1) or original(self, *a, **k)
    )
    seen, train = problem(200), problem(300, 1)
    found = crossfit(seen).head("plain", boost(), train)
    assert len(grown) == 1
    alone = fit_mode("plain", boost(), train, K)
    np.testing.assert_array_equal(found.proba, alone.predict_proba(seen.features, seen.log_proba))


def test_probabilities_are_means_over_views():
    seen = problem(200)
    noise = np.random.default_rng(0).normal(scale=0.3, size=seen.features.shape).astype(np.float32)
    other = seen._replace(features=seen.features + noise)
    train = problem(300, 1)
    both = crossfit(seen, views=[seen, other]).head("plain", boost(), train)
    parts = [crossfit(one, images=seen.features).head("plain", boost(), train).proba for one in (seen, other)]
    np.testing.assert_allclose(both.proba, np.mean(parts, axis=0), atol=1e-6)


def test_equal_images_stay_on_one_side():
    seen = problem(150)
    twice = seen.take(np.tile(np.arange(150), 2))
    fit = crossfit(twice)
    for chosen, scored in fit._parts:
        assert not set(chosen % 150) & set(scored % 150)


def test_copies_of_an_image_do_not_choose_the_rounds():
    """Nothing can be learnt from random labels, however often an image stands among the others."""
    rng = np.random.default_rng(0)
    once = problem(120)._replace(log_proba=np.full((120, K), -np.log(K), np.float32))
    once = once._replace(codes=rng.permutation(np.arange(120) % K))
    copied = once.take(np.tile(np.arange(120), 4))
    for grown in (None, copied._replace(groups=groups_of(copied.features))):
        fit = CrossFit([copied], copied.features, K, folds=3, seed=0, grown=grown)
        found = fit.head("residual", boost(n_estimators=30, min_child_weight=1))
        assert max(found.rounds) < 10
        assert log_loss(copied.codes, found.proba) < 1.1 * np.log(K)


def test_a_residual_betters_the_calibrated_softmax_of_a_weak_network():
    seen, train = problem(900), problem(900, 1)
    fit = crossfit(seen)
    found = fit.head("residual", boost(), train)
    assert log_loss(seen.codes, found.proba) < 0.97 * log_loss(seen.codes, fit.softmax()[1].proba)
    assert len(found.rounds) == len(found.temperatures) == len(found.weights) == 3


def test_what_cannot_be_is_refused():
    with pytest.raises(ParameterError, match="folds=1 divides nothing"):
        crossfit(problem(60), folds=1)
    with pytest.raises(DataError, match="60 folds need 60"):
        crossfit(problem(60), folds=60)


def test_trees_are_grown_on_the_views_of_the_other_folds_alone():
    """Views that are grown on count, and those of an image never reach its own score."""
    seen = problem(240)
    rng = np.random.default_rng(0)
    noisy = seen.features + rng.normal(scale=0.3, size=seen.features.shape).astype(np.float32)
    views = [
        np.concatenate([a, b]) for a, b in ((seen.features, noisy), (seen.log_proba,) * 2, (seen.codes,) * 2)
    ]
    groups = groups_of(seen.features)
    grown = HeadInputs(*views, np.tile(groups, 2))

    def judge(grown):
        fit = CrossFit([seen], seen.features, K, folds=3, seed=0, grown=grown)
        return fit, fit.head("residual", boost(n_estimators=8)).proba

    with pytest.raises(ParameterError, match="grown has no groups"):
        judge(grown._replace(groups=None))
    fit, proba = judge(grown)
    assert not np.array_equal(proba, judge(None)[1])
    scored = fit._parts[0][1]
    turned = grown.codes.copy()
    turned[np.isin(grown.groups, groups[scored])] = 0
    again = judge(grown._replace(codes=turned))[1]
    np.testing.assert_array_equal(again[scored], proba[scored])
    assert not np.array_equal(again, proba)


def apart(seed, n=200):
    """Return images that are not scored, with numbers that no scored image has."""
    rows = problem(n, seed)
    return rows._replace(groups=10_000 + groups_of(rows.features))


LINEAR = rivals_of([Head(path="logistic_regression")])[0]


def test_without_folds_heads_are_fitted_on_the_other_images_alone():
    """Labels of images that are scored count for nothing then."""
    seen, more = problem(150), apart(1)
    turned = seen._replace(codes=(seen.codes + 1) % K)
    fits = [CrossFit([one], one.features, K, folds=0, seed=0, more=more) for one in (seen, turned)]
    for ask in (
        lambda fit: fit.head("residual", boost(n_estimators=8)),
        lambda fit: fit.rival(LINEAR),
        lambda fit: fit.softmax()[1],
    ):
        one, other = (ask(fit).proba for fit in fits)
        np.testing.assert_array_equal(one, other)
    alone = fit_mode("residual", boost(n_estimators=8), more, K)
    np.testing.assert_array_equal(
        fits[0].head("residual", boost(n_estimators=8)).proba, alone.predict_proba(*seen[:2])
    )
    assert fits[0].images_per_head == len(more.codes)
    with pytest.raises(ParameterError, match="folds=0 leaves heads nothing"):
        CrossFit([seen], seen.features, K, folds=0, seed=0)
    with pytest.raises(ParameterError, match="more has no groups"):
        CrossFit([seen], seen.features, K, folds=0, seed=0, more=more._replace(groups=None))


def test_other_images_are_added_to_the_other_folds():
    seen, more = problem(150), apart(1)
    fit = CrossFit([seen], seen.features, K, folds=3, seed=0, more=more)
    assert fit.images_per_head == 100 + len(more.codes)
    one = fit.head("residual", boost(n_estimators=8))
    assert not np.array_equal(one.proba, crossfit(seen).head("residual", boost(n_estimators=8)).proba)
    scored = fit._parts[0][1]
    turned = seen.codes.copy()
    turned[scored] = (turned[scored] + 1) % K
    other = CrossFit([seen._replace(codes=turned)], seen.features, K, folds=3, seed=0, more=more)
    other._parts = fit._parts
    again = other.head("residual", boost(n_estimators=8))
    np.testing.assert_array_equal(again.proba[scored], one.proba[scored])


def test_heads_may_be_fitted_on_a_draw_of_the_images(monkeypatch):
    fitted = []
    original = BoostClassifier.fit

    def noted(self, X, y, **options):
        fitted.append(len(X))
        return original(self, X, y, **options)

    seen, more = problem(150), apart(1, 300)
    twice = more.take(np.tile(np.arange(300), 2))  # in two views
    fit = CrossFit([seen], seen.features, K, folds=0, seed=0, more=twice)
    monkeypatch.setattr(BoostClassifier, "fit", noted)
    few = fit.head("plain", boost(), n=40)
    assert fitted == [80]
    assert not np.array_equal(few.proba, fit.head("plain", boost()).proba)
    other = CrossFit([seen], seen.features, K, folds=0, seed=1, more=twice)
    assert not np.array_equal(few.proba, other.head("plain", boost(), n=40).proba)
    with pytest.raises(DataError, match=r"among 9 images for a head, \d are of class number .* takes 5"):
        fit.head("residual", boost(), n=9)


@pytest.mark.parametrize("folds", [0, 3])
def test_a_number_of_images_is_checked_without_their_features(folds):
    seen, more = problem(150), apart(1)
    fit = CrossFit([seen, seen], seen.features, K, folds=folds, seed=0, more=more)
    fit.views = [view._replace(features=None) for view in fit.views]
    fit._more = more._replace(features=None)
    fit.check_rows(60, ["plain", "residual"])
    fit.check_rows(9, ["plain"])
    with pytest.raises(DataError, match=r"among 9 images for a head, \d are of class number .* takes 5"):
        fit.check_rows(9, ["plain", "residual"])


def test_a_bag_is_the_mean_of_its_members():
    seen = problem(150)
    members = [CrossFit([seen], seen.features, K, folds=0, seed=0, more=apart(seed)) for seed in (1, 2)]
    bag = BagFit(members)
    for ask in (
        lambda fit: fit.head("residual", boost(n_estimators=8)),
        lambda fit: fit.rival(LINEAR, n=60),
        lambda fit: fit.softmax()[1],
    ):
        parts = [ask(member) for member in members]
        found = ask(bag)
        np.testing.assert_allclose(found.proba, np.mean([part.proba for part in parts], axis=0), atol=1e-6)
        assert found.temperatures == [part.temperatures[0] for part in parts]
    ((rows, heads),) = bag.head("plain", boost()).heads
    assert len(rows) == 150
    assert len(heads) == 2
