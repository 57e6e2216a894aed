"""Rivals of the trees: other classifiers on the same rows, features and log-probabilities.

What betters a softmax may be the trees, or any head that is fitted on images which the network has not
seen. Rivals tell the two apart. All of them see the features and the network's log-probabilities, every
column standardised; vector scaling sees the log-probabilities alone.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cnnboost.config.outcomes import RIVALS, Head
from cnnboost.errors import ParameterError
from cnnboost.holdout import Sides, folds_of
from cnnboost.hybrid.modes import HeadInputs

_INNER_FOLDS = 3


class VectorScaling(ClassifierMixin, BaseEstimator):
    """A factor and an offset for the log-probability of each class (Guo et al. 2017, section 4.2).

    Where a network is hardly ever wrong, the factors would grow without end; the penalty holds them near 1.
    """

    def __init__(self, penalty: float = 0.0) -> None:
        self.penalty = penalty

    def fit(self, X: NDArray[np.floating], y: NDArray[np.intp]) -> VectorScaling:
        """Find the factors and offsets of the lowest log-loss, which is convex in them."""
        from scipy.optimize import minimize
        from scipy.special import log_softmax

        self.classes_, codes = np.unique(y, return_inverse=True)
        scores, rows = np.asarray(X, dtype=np.float64), np.arange(len(X))
        n_classes = scores.shape[1]
        start = np.repeat([1.0, 0.0], n_classes)
        given = np.zeros_like(scores)
        given[rows, codes] = 1

        def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logs = log_softmax(scores * parameters[:n_classes] + parameters[n_classes:], axis=1)
            slope = (np.exp(logs) - given) / len(rows)
            gone = parameters - start
            gradient = np.concatenate([(slope * scores).sum(axis=0), slope.sum(axis=0)])
            value = -logs[rows, codes].mean() + self.penalty / 2 * gone @ gone
            return value, gradient + self.penalty * gone

        self.factors_, self.offsets_ = np.split(minimize(loss, start, jac=True, method="L-BFGS-B").x, 2)
        return self

    def predict_proba(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Give the probability of each class."""
        from scipy.special import softmax

        proba: NDArray[np.float64] = softmax(np.asarray(X) * self.factors_ + self.offsets_, axis=1)
        return proba


@dataclass(frozen=True)
class Rival:
    """A classifier to compare with, and what of it is chosen on inner folds."""

    name: str
    build: Callable[[Sequence[Sides]], Any]
    grid: Callable[[Sequence[Sides]], Mapping[str, Sequence[Any]]] | None = None
    linear: bool = False
    calibrates: bool = False

    def fit(self, seen: HeadInputs, n_classes: int, seed: int) -> FittedRival:
        """Fit it; equal images, and views of one, stay on one side of the inner folds."""
        inner = folds_of(seen.codes, seen.groups, _INNER_FOLDS, seed)
        estimator = self.build(inner)
        if self.grid is not None:
            grid = dict(self.grid(inner))
            estimator = GridSearchCV(estimator, grid, scoring="neg_log_loss", cv=inner, error_score="raise")
        try:
            estimator.fit(self.columns(seen.features, seen.log_proba), seen.codes)
        except (ValueError, TypeError) as error:
            raise ParameterError(f"the head {self.name} cannot be fitted: {error}") from error
        known = getattr(estimator, "classes_", None)
        if known is None or not np.array_equal(known, np.arange(n_classes)):
            raise ParameterError(
                f"the head {self.name} knows the classes {known} and not 0 to {n_classes - 1}, which it was "
                "fitted to"
            )
        return FittedRival(self, estimator)

    def columns(self, features: NDArray[np.float32], log_proba: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put together what it sees."""
        if self.calibrates or np.array_equal(features, log_proba):
            return log_proba
        return np.concatenate([features, log_proba], axis=1)


@dataclass(frozen=True)
class FittedRival:
    """A rival that is fitted."""

    rival: Rival
    estimator: Any

    @property
    def chosen(self) -> dict[str, Any]:
        """What was chosen on the inner folds."""
        return dict(getattr(self.estimator, "best_params_", {}))

    def predict_proba(
        self, features: NDArray[np.float32], log_proba: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Give the probability of each class."""
        proba = np.asarray(self.estimator.predict_proba(self.rival.columns(features, log_proba)))
        if proba.shape != log_proba.shape or not np.isfinite(proba).all():
            raise ParameterError(
                f"the head {self.rival.name} gives probabilities of shape {proba.shape}, or some that are "
                f"not finite; {log_proba.shape} are needed, all finite"
            )
        return proba.astype(np.float32)


def rivals_of(heads: Sequence[Head] | None, seed: int) -> list[Rival]:
    """Return the rivals that are asked for; None stands for all that are installed."""
    if heads is None:
        return [_RIVALS[name](seed) for name in RIVALS if name != "lightgbm" or _installed("lightgbm")]
    return [_rival(head, seed) for head in heads]


def _rival(head: Head, seed: int) -> Rival:
    if head.path in _RIVALS and not head.options:
        if head.path == "lightgbm" and not _installed("lightgbm"):
            raise ParameterError("the head 'lightgbm' needs the package lightgbm: pip install lightgbm")
        return _RIVALS[head.path](seed)
    estimator = _imported(head, seed)
    return Rival(head.name or head.path, _standardised(lambda _: clone(estimator)), linear=head.linear)


def _imported(head: Head, seed: int) -> Any:
    """Build a classifier by its import path."""
    module_name, _, name = head.path.rpartition(".")
    if not module_name:
        near = difflib.get_close_matches(head.path, RIVALS, 1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ParameterError(
            f"unknown head {head.path!r}{meant}; valid heads: {', '.join(RIVALS)}, or the import path of a "
            "scikit-learn classifier, e.g. 'sklearn.ensemble.RandomForestClassifier'"
        )
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError, ValueError) as error:  # the two others: '..', or no name at all
        raise ParameterError(
            f"the head {head.path!r} cannot be imported ({error}); install its package, or correct the path"
        ) from error
    if not isinstance(kind := getattr(module, name, None), type):
        near = difflib.get_close_matches(name, dir(module), 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ParameterError(f"{module_name} has no class {name!r}{meant}")
    try:
        estimator = kind(**head.options)
        if "random_state" in estimator.get_params() and "random_state" not in head.options:
            estimator.set_params(random_state=seed)
    except (TypeError, ValueError, AttributeError) as error:
        raise ParameterError(
            f"the head {head.path!r} with options {head.options} is no scikit-learn classifier: {error}"
        ) from error
    if not is_classifier(estimator):
        raise ParameterError(f"the head {head.path!r} is no scikit-learn classifier")
    if not hasattr(estimator, "predict_proba"):
        raise ParameterError(
            f"the head {head.path!r} has no predict_proba and so no log-loss; take one that has it, for a "
            "linear SVM the head 'linear_svm'"
        )
    return estimator


def _standardised(build: Callable[[Sequence[Sides]], Any]) -> Callable[[Sequence[Sides]], Any]:
    return lambda inner: make_pipeline(StandardScaler(), build(inner))


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _vector_scaling(seed: int) -> Rival:
    grid = {"penalty": [0.0, 1e-3, 1e-2, 1e-1, 1.0]}
    return Rival("vector_scaling", lambda _: VectorScaling(), lambda _: grid, linear=True, calibrates=True)


def _logistic_regression(seed: int) -> Rival:
    from sklearn.linear_model import LogisticRegression

    grid = {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}
    build = _standardised(lambda _: LogisticRegression(tol=1e-3, max_iter=500))
    return Rival("logistic_regression", build, lambda _: grid, linear=True)


def _linear_svm(seed: int) -> Rival:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import LinearSVC

    def build(inner: Sequence[Sides]) -> Any:
        svm = LinearSVC(C=1e-3, dual="auto", random_state=seed, max_iter=5000)
        return CalibratedClassifierCV(svm, cv=inner, ensemble=False)

    return Rival("linear_svm", _standardised(build), linear=True)


def _nearest_neighbors(seed: int) -> Rival:
    from sklearn.neighbors import KNeighborsClassifier

    def grid(inner: Sequence[Sides]) -> Mapping[str, Sequence[Any]]:
        rows = min(len(grown) for grown, _ in inner)
        return {"kneighborsclassifier__n_neighbors": sorted({min(k, rows) for k in (15, 50, 150)})}

    return Rival("nearest_neighbors", _standardised(lambda _: KNeighborsClassifier()), grid)


def _hist_gradient_boosting(seed: int) -> Rival:
    from sklearn.ensemble import HistGradientBoostingClassifier

    def build(inner: Sequence[Sides]) -> Any:
        return HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.1, max_depth=3, early_stopping=False, random_state=seed
        )

    return Rival("hist_gradient_boosting", _standardised(build))


def _lightgbm(seed: int) -> Rival:
    from lightgbm import LGBMClassifier

    def build(inner: Sequence[Sides]) -> Any:
        return LGBMClassifier(
            n_estimators=60, learning_rate=0.1, max_depth=3, random_state=seed, verbosity=-1
        )

    return Rival("lightgbm", _standardised(build))


_RIVALS: dict[str, Callable[[int], Rival]] = {
    "vector_scaling": _vector_scaling,
    "logistic_regression": _logistic_regression,
    "linear_svm": _linear_svm,
    "nearest_neighbors": _nearest_neighbors,
    "hist_gradient_boosting": _hist_gradient_boosting,
    "lightgbm": _lightgbm,
}
