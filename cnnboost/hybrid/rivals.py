"""Rivals of the trees: other classifiers on the same rows.

What betters a softmax may be the trees, or any head that is fitted on images which the network has not
seen. Rivals tell the two apart. Fitted on such images they see the features and the network's
log-probabilities, and what is chosen of them is chosen on inner folds. Fitted on the images of the training
they see the features alone, as the log-probabilities of those tell the labels, and settings and a temperature
are chosen on the images on which the rounds of the trees are chosen. Columns are standardised for all but
trees. Vector scaling sees the log-probabilities of unseen images alone.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cnnboost.config.outcomes import RIVALS, Head
from cnnboost.errors import ParameterError
from cnnboost.holdout import Sides, folds_of
from cnnboost.hybrid.calibration import VectorScaling, fit_temperature, log_probabilities, tempered
from cnnboost.hybrid.modes import HeadInputs, log_loss

_INNER_FOLDS = 3

Build = Callable[[Mapping[str, Any], int, Sequence[Sides], int], Any]
"""Settings, seed, inner folds and number of rows -> an unfitted classifier."""


@dataclass(frozen=True)
class Rival:
    """A classifier to compare with, and the settings among which one is chosen."""

    name: str
    build: Build
    settings: Sequence[Mapping[str, Any]] = ({},)
    linear: bool = False
    calibrates: bool = False
    folds: bool = False

    def fit(self, seen: HeadInputs, n_classes: int, seed: int) -> FittedRival:
        """Fit it to images that the network has not seen; settings are chosen on inner folds of them.

        Equal images, and views of one, stay on one side of these folds.
        """
        if len(self.settings) == 1:
            return self._fitted(self.settings[0], seen, n_classes, seed)
        inner = self._inner(seen, seed)
        if not inner:
            return self._fitted(self.settings[len(self.settings) // 2], seen, n_classes, seed)

        def loss(settings: Mapping[str, Any]) -> float:
            parts = [
                self._fitted(settings, seen.take(grown), n_classes, seed).log_loss(seen.take(left_out))
                for grown, left_out in inner
            ]
            return float(np.average(parts, weights=[len(left_out) for _, left_out in inner]))

        return self._fitted(min(self.settings, key=loss), seen, n_classes, seed)

    def fit_each(self, seen: HeadInputs, n_classes: int, seed: int) -> list[FittedRival]:
        """Fit it with each of its settings, to features of images that the network was trained on.

        The log-probabilities of such images tell their labels, so that it must not see them.
        """
        return [
            self._fitted(settings, seen, n_classes, seed, features_alone=True) for settings in self.settings
        ]

    def _fitted(
        self,
        settings: Mapping[str, Any],
        seen: HeadInputs,
        n_classes: int,
        seed: int,
        features_alone: bool = False,
    ) -> FittedRival:
        inner = self._inner(seen, seed) if self.folds else []
        fitted = FittedRival(self, None, dict(settings), n_classes, features_alone)
        X = fitted.columns(np.asarray(seen.features), seen.log_proba)
        # Whatever the code of other packages raises, it is the head that was named which cannot do it.
        try:
            estimator = self.build(settings, seed, inner, len(X)).fit(X, seen.codes)
        except Exception as error:
            raise ParameterError(
                f"the head {self.name} cannot be fitted to {len(X)} rows of {X.shape[1]} values: "
                f"{first_line(error)}; change its options, or leave it out of compare.heads"
            ) from error
        return replace(fitted, estimator=estimator)

    def _inner(self, seen: HeadInputs, seed: int) -> list[Sides]:
        """Return inner folds, as many as the rarest class has images; none where it has one."""
        groups = np.arange(len(seen.codes)) if seen.groups is None else seen.groups
        rarest = min(len(np.unique(groups[seen.codes == code])) for code in np.unique(seen.codes))
        return [] if rarest < 2 else folds_of(seen.codes, groups, min(_INNER_FOLDS, rarest), seed)


@dataclass(frozen=True)
class FittedRival:
    """A rival that is fitted."""

    rival: Rival
    estimator: Any
    settings: dict[str, Any]
    n_classes: int
    features_alone: bool = False
    temperature: float = 1.0

    def columns(self, features: NDArray[np.float32], log_proba: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put together what it sees."""
        if self.rival.calibrates:
            return log_proba
        if self.features_alone or np.array_equal(features, log_proba):
            return features
        return np.concatenate([features, log_proba], axis=1)

    def predict_proba(
        self, features: NDArray[np.float32], log_proba: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Give the probability of each class; one that it was not fitted to has none."""
        name, found = self.rival.name, np.zeros((len(features), self.n_classes))
        try:
            proba = np.asarray(self.estimator.predict_proba(self.columns(features, log_proba)), dtype=float)
            found[:, np.asarray(self.estimator.classes_)] = proba
        except Exception as error:
            raise ParameterError(
                f"the head {name} cannot predict {len(features)} rows: {first_line(error)}; change its "
                "options, or leave it out of compare.heads"
            ) from error
        if not np.isfinite(found).all() or (found < 0).any() or np.abs(found.sum(axis=1) - 1).max() > 1e-3:
            raise ParameterError(
                f"the head {name} gives no probabilities: some are not finite, below 0, or do not sum to 1; "
                "leave it out of compare.heads"
            )
        if self.temperature != 1:
            return tempered(log_probabilities(found), self.temperature)
        return found.astype(np.float32)

    def calibrated(self, watched: HeadInputs) -> FittedRival:
        """Fit a temperature on images that the network has not seen."""
        proba = self.predict_proba(np.asarray(watched.features), watched.log_proba)
        return replace(self, temperature=fit_temperature(log_probabilities(proba), watched.codes))

    def log_loss(self, seen: HeadInputs) -> float:
        """Return its log-loss on some images."""
        return log_loss(self.predict_proba(np.asarray(seen.features), seen.log_proba), seen.codes)


def best_of(fits: Sequence[FittedRival], watched: HeadInputs) -> FittedRival:
    """Return the one of the lowest log-loss on images that the network has not seen, calibrated on them."""
    return min((one.calibrated(watched) for one in fits), key=lambda one: one.log_loss(watched))


def rivals_of(heads: Sequence[Head] | None) -> list[Rival]:
    """Return the rivals that are asked for; None means all that are installed."""
    if heads is None:
        heads = [Head(path=name) for name in RIVALS if name != "lightgbm" or _installed("lightgbm")]
    return [_rival(head) for head in heads]


def _rival(head: Head) -> Rival:
    if head.path not in _RIVALS:
        kind = _imported(head)

        def build(settings: Mapping[str, Any], seed: int, inner: Sequence[Sides], n: int) -> Any:
            return make_pipeline(StandardScaler(), _made(head, kind, seed))

        return Rival(head.name or head.path, build, linear=head.linear)
    if head.options:
        raise ParameterError(
            f"the head {head.path!r} takes no options ({', '.join(head.options)}); give the import path of a "
            "classifier to set some, e.g. 'sklearn.linear_model.LogisticRegression'"
        )
    if head.path == "lightgbm" and not _installed("lightgbm"):
        raise ParameterError("the head 'lightgbm' needs the package lightgbm: pip install lightgbm")
    built_in = _RIVALS[head.path]
    return replace(built_in, name=head.name or head.path, linear=built_in.linear or head.linear)


def _imported(head: Head) -> type:
    """Import the class of a classifier, and make one of it to see that it is one."""
    module_name, _, name = head.path.rpartition(".")
    if not module_name:
        near = difflib.get_close_matches(head.path, RIVALS, 1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ParameterError(
            f"unknown head {head.path!r}{meant}; valid heads: {', '.join(RIVALS)}, or the import path of a "
            "scikit-learn classifier, e.g. 'sklearn.ensemble.RandomForestClassifier'"
        )
    # A module is code of others and may raise anything.
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ParameterError(
            f"the head {head.path!r} cannot be imported ({first_line(error)}); install its package, or "
            "correct the path"
        ) from error
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        near = difflib.get_close_matches(name, dir(module), 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ParameterError(f"{module_name} has no class {name!r}{meant}")
    # Before it is called: a class of another kind might do anything with its options.
    if not all(hasattr(kind, method) for method in ("fit", "get_params", "predict")):
        raise ParameterError(f"the head {head.path!r} is not a scikit-learn classifier")
    if not hasattr(_made(head, kind, 0), "predict_proba"):
        raise ParameterError(
            f"the head {head.path!r} has no predict_proba and so no log-loss; give an option that gives it, "
            "or take a classifier that has it; for a linear SVM there is the head 'linear_svm'"
        )
    return kind


def _made(head: Head, kind: type, seed: int) -> Any:
    try:
        estimator = kind(**head.options)
        known = estimator.get_params()
        if "random_state" in known and "random_state" not in head.options:
            estimator.set_params(random_state=seed)
        classifies = is_classifier(estimator)
    except Exception as error:
        raise ParameterError(
            f"the head {head.path!r} cannot be made with the options {head.options}: {first_line(error)}"
        ) from error
    if not classifies:
        raise ParameterError(f"the head {head.path!r} is not a scikit-learn classifier")
    return estimator


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _vector_scaling(settings: Mapping[str, Any], seed: int, inner: Sequence[Sides], n: int) -> Any:
    return VectorScaling(**settings)


def _logistic_regression(settings: Mapping[str, Any], seed: int, inner: Sequence[Sides], n: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return make_pipeline(StandardScaler(), LogisticRegression(tol=1e-3, max_iter=500, **settings))


def _linear_svm(settings: Mapping[str, Any], seed: int, inner: Sequence[Sides], n: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import LinearSVC

    if not inner:
        raise ParameterError("its probabilities need two images of each class at least")
    svm = LinearSVC(dual="auto", random_state=seed, max_iter=5000, **settings)
    return make_pipeline(StandardScaler(), CalibratedClassifierCV(svm, cv=list(inner), ensemble=False))


def _nearest_neighbors(settings: Mapping[str, Any], seed: int, inner: Sequence[Sides], n: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return make_pipeline(StandardScaler(), KNeighborsClassifier(min(n, settings["n_neighbors"])))


def _hist_gradient_boosting(settings: Mapping[str, Any], seed: int, inner: Sequence[Sides], n: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_depth=3, early_stopping=False, random_state=seed
    )


def _lightgbm(settings: Mapping[str, Any], seed: int, inner: Sequence[Sides], n: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=60, learning_rate=0.1, max_depth=3, random_state=seed, verbosity=-1)


def _several(key: str, *values: float) -> list[dict[str, Any]]:
    return [{key: value} for value in values]


_RIVALS = {
    rival.name: rival
    for rival in (
        Rival(
            "vector_scaling", _vector_scaling, _several("penalty", 0.0, 1e-3, 1e-2, 1e-1, 1.0),
            linear=True, calibrates=True,
        ),
        Rival(
            "logistic_regression", _logistic_regression, _several("C", 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
            linear=True,
        ),
        Rival("linear_svm", _linear_svm, _several("C", 1e-3), linear=True, folds=True),
        Rival("nearest_neighbors", _nearest_neighbors, _several("n_neighbors", 15, 50, 150)),
        Rival("hist_gradient_boosting", _hist_gradient_boosting),
        Rival("lightgbm", _lightgbm),
    )
}  # fmt: skip
