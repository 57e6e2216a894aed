import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

import cnnboost.evaluation as evaluation
from cnnboost.errors import DataError
from cnnboost.evaluation import (
    bootstrap_interval,
    calibration_error,
    compare_predictions,
    roc_auc,
    score_predictions,
)
from cnnboost.metrics.comparison import compare
from cnnboost.metrics.scores import score

NAMES = np.array(["cat", "dog", "newt"])
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 3, 200)
PROBA = RNG.dirichlet((1, 1, 1), 200)
PROBA[np.arange(200), CODES] += 0.5
PROBA /= PROBA.sum(axis=1, keepdims=True)
OTHER = RNG.dirichlet((1, 1, 1), 200)
LABELS = [NAMES, np.array([2, 5, 9]), np.array([-1.0, 0.0, 4.0]), np.array(["b", "c", "d"], dtype=object)]


@pytest.mark.parametrize("names", LABELS, ids=["text", "numbers", "floats", "objects"])
class TestLabelsOfAnyKind:
    def test_scores_are_scikit_learns(self, names):
        y, said = names[CODES], names[PROBA.argmax(axis=1)]
        for predicted in (said, list(said), PROBA):
            found = score_predictions(y, predicted)
            assert found.accuracy.value == metrics.accuracy_score(y, said)
            assert found.macro_f1.value == pytest.approx(metrics.f1_score(y, said, average="macro"))
            assert [list(row) for row in found.confusion] == metrics.confusion_matrix(y, said).tolist()
            assert [one.name for one in found.per_class] == [str(name) for name in names]
        assert found == score(CODES, PROBA, names)
        assert found.log_loss.value == pytest.approx(metrics.log_loss(CODES, PROBA))
        assert score_predictions(y, said).log_loss is None
        assert score_predictions(y, said).calibration_error is None

    def test_comparisons_are_those_of_probabilities(self, names):
        y, a, b = names[CODES], names[PROBA.argmax(axis=1)], names[OTHER.argmax(axis=1)]
        wanted = compare(CODES, PROBA, OTHER, names=("x", "y"))
        for one in (a, PROBA):
            for other in (b, OTHER):
                assert compare_predictions(y, one, other, names=("x", "y")) == wanted

    def test_areas_are_scikit_learns(self, names):
        for code, name in enumerate(names):
            wanted = metrics.roc_auc_score(code == CODES, PROBA[:, code])
            assert roc_auc(names[CODES], PROBA[:, code], positive=name).value == pytest.approx(wanted)
        two = CODES < 2
        wanted = metrics.roc_auc_score(CODES[two], OTHER[two, 1])
        assert roc_auc(names[CODES[two]], OTHER[two, 1]).value == pytest.approx(wanted)

    def test_the_calibration_error(self, names):
        assert calibration_error(names[CODES], PROBA) == score(CODES, PROBA, names).calibration_error.value


def test_the_calibration_error_of_known_bins():
    y, proba = [1, 1, 0, 1], [[0.4, 0.6], [0.4, 0.6], [0.4, 0.6], [0.1, 0.9]]
    assert calibration_error(y, proba, bins=2) == pytest.approx(abs(0.75 - (3 * 0.6 + 0.9) / 4))
    assert calibration_error(y, proba, bins=10) == pytest.approx((3 * abs(2 / 3 - 0.6) + abs(1 - 0.9)) / 4)


def test_the_order_of_columns_can_be_stated():
    y = ["dog", "cat", "dog"]
    proba = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]
    assert score_predictions(y, proba, classes=["dog", "cat"]).accuracy.value == 1
    assert score_predictions(y, proba).accuracy.value == 0
    assert score_predictions(["a", "a"], ["a", "a"], classes=["a", "b"]).n == 2


def test_delong_covers_what_the_bootstrap_covers():
    there = CODES == 0
    low, high = roc_auc(there, OTHER[:, 0], positive=True).interval
    drawn = bootstrap_interval(
        lambda y, s: metrics.roc_auc_score(y, s) if 0 < y.sum() < len(y) else np.nan,
        there, OTHER[:, 0], n_resamples=200,
    )  # fmt: skip
    assert (low, high) == pytest.approx(drawn, abs=0.04)


def test_the_bootstrap_is_scipys():
    x, y = PROBA[:, 0], OTHER[:, 0]
    ours = bootstrap_interval(lambda x, y: np.corrcoef(x, y)[0, 1], x, y, n_resamples=1000)
    theirs = stats.bootstrap(
        (x, y), lambda x, y: np.corrcoef(x, y)[0, 1], paired=True, vectorized=False, method="percentile",
        n_resamples=1000, rng=1,
    ).confidence_interval  # fmt: skip
    assert ours == pytest.approx(theirs, abs=0.04)
    assert ours == bootstrap_interval(lambda x, y: np.corrcoef(x, y)[0, 1], x, y, n_resamples=1000)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: score_predictions(["a", "b"], ["a"]),
            r"2 labels need as many rows; predicted has shape \(1,\)",
        ),
        (lambda: score_predictions(["a", "b"], ["a", "c"], classes=["a", "b"]), "'c' of predicted"),
        (lambda: score_predictions(["a", "c"], ["a", "a"], classes=["a", "b"]), "'c' of y"),
        (lambda: score_predictions(["a", "b"], [0, 1]), "different kinds"),
        (lambda: score_predictions(["a", "a"], ["a", "a"]), "one class"),
        (lambda: score_predictions(["a", "b"], [[0.2, 0.3, 0.5]] * 2), "3 columns and there are 2 classes"),
        (lambda: score_predictions(["a", "b"], [[2.0, 3.0]] * 2), "not a probability distribution"),
        (lambda: score_predictions(["a", None], ["a", "b"]), "row 1"),
        (lambda: compare_predictions(["a", "b"], ["a", "b"], ["a"]), "b has shape"),
        (lambda: roc_auc(["a", "b", "c"], [1, 2, 3]), "3 classes.*positive="),
        (lambda: roc_auc(["a", "b"], [1, 2], positive="z"), "0 of 2 rows are 'z'"),
        (lambda: roc_auc(["a", "b"], [1, np.nan]), "score 1 is not finite"),
        (lambda: roc_auc(["a", "b"], [[1, 2]]), "as many scores"),
        (lambda: calibration_error(["a", "b"], ["a", "b"]), r"shape \(n, k\)"),
        (lambda: bootstrap_interval(np.mean, [1, 2], [1]), r"\[1, 2\] rows"),
        (lambda: bootstrap_interval(np.mean, []), r"\[0\] rows"),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(DataError, match=words):
        call()


def test_nothing_slow_is_imported_with_the_names():
    assert all(getattr(evaluation, name) for name in evaluation.__all__)
    with pytest.raises(AttributeError, match="mcnemar"):
        _ = evaluation.mcnemars
    code = (
        "import sys, cnnboost.evaluation; print({'sklearn', 'scipy', 'xgboost', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
