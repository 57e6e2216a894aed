"""Modes: what the head makes of features and of the network's own probabilities.

`plain` is XGBoost on the features. `residual` starts the trees from the network's log-probabilities divided
by a temperature, so that no tree at all is the calibrated softmax and each must earn its place. `blend` mixes
the calibrated softmax with plain trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from cnnboost.boost import BoostClassifier
from cnnboost.errors import ParameterError
from cnnboost.features.feature_parts import FeatureParts
from cnnboost.holdout import folds_of
from cnnboost.hybrid.calibration import fit_temperature, tempered

MODES = ("plain", "residual", "blend")
#: Of the images that a head is fitted on, to choose its rounds, where no others are watched.
FOLDS = 5


class HeadInputs(NamedTuple):
    """Images as a head sees them."""

    features: NDArray[np.float32] | FeatureParts
    log_proba: NDArray[np.float32]
    codes: NDArray[np.intp]
    groups: NDArray[np.intp] | None = None

    def take(self, rows: NDArray[np.intp]) -> HeadInputs:
        """Copy some rows."""
        return HeadInputs(*(None if of is None else of[rows] for of in self))  # type: ignore[arg-type]

    def below(self, *others: HeadInputs) -> HeadInputs:
        """Put the rows of others under these; the groups of all number the same images alike."""
        parts = (self, *others)
        assert all(part.groups is not None for part in parts), "equal images would not be known"
        return HeadInputs(*(np.concatenate(of) for of in zip(*parts, strict=True)))


@dataclass(frozen=True)
class FittedMode:
    """A head in one mode."""

    mode: str
    boost: BoostClassifier
    temperature: float = 1.0
    weight: float = 0.0

    def predict_proba(
        self, features: NDArray[np.float32] | FeatureParts, log_proba: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Give the probability of each class."""
        if self.mode == "residual":
            return self.boost.predict_proba(features, log_proba / np.float32(self.temperature))
        trees = self.boost.predict_proba(features)
        if self.mode == "plain":
            return trees
        return _mixed(tempered(log_proba, self.temperature), trees, self.weight)


def described(heads: Sequence[FittedMode]) -> dict[str, Any]:
    """Say what was chosen of a head; of the heads of a bagged hybrid, for each."""
    found = [{"temperature": float(head.temperature), "weight": float(head.weight)} for head in heads]
    if len(found) == 1:
        return dict(found[0])
    rounds = [head.boost.n_estimators_ for head in heads]
    return {"heads": [{"rounds": n, **chosen} for n, chosen in zip(rounds, found, strict=True)]}


def fit_mode(
    mode: str,
    boost: BoostClassifier,
    seen: HeadInputs,
    n_classes: int,
    *,
    watched: HeadInputs | None = None,
    seed: int = 0,
    memory: str | int | None = None,
) -> FittedMode:
    """Fit a head in one mode.

    Temperature, number of rounds and weight are chosen on images that the network was not trained on: the
    watched ones, or, by cross-fitting, all that are given; these must be such images then. In `plain`, the
    number of rounds is what `boost` says.
    """
    check_mode(mode)
    template = clone(boost).set_params(classes=list(range(n_classes)))
    if mode == "plain":
        return FittedMode(mode, template.fit(seen.features, seen.codes, memory=memory))
    chosen_on = seen if watched is None else watched
    temperature = fit_temperature(chosen_on.log_proba, chosen_on.codes)
    residual = mode == "residual"
    if watched is None:
        fitted, unseen = _cross_fitted(template, seen, temperature if residual else None, seed, memory)
    else:
        fitted, unseen = _watched(template, seen, watched, temperature if residual else None, memory)
    if residual:
        return FittedMode(mode, fitted, temperature)
    softmax = tempered(chosen_on.log_proba, temperature)
    return FittedMode(mode, fitted, temperature, _best_weight(softmax, unseen, chosen_on.codes))


def check_mode(mode: Any) -> str:
    """Return a mode; refuse an unknown one."""
    if mode not in MODES:
        raise ParameterError(f"unknown mode={mode!r}; valid modes: {', '.join(MODES)}")
    return str(mode)


#: Rounds without improvement after which trees that are watched stop growing.
_PATIENCE = 30


def _watched(
    template: BoostClassifier,
    seen: HeadInputs,
    watched: HeadInputs,
    temperature: float | None,
    memory: str | int | None,
) -> tuple[BoostClassifier, NDArray[np.float32]]:
    """Grow trees while they improve on the watched images; return their probabilities there too."""
    patience = template.early_stopping_rounds or _PATIENCE
    start, start_watched = (_margin(part, temperature) for part in (seen, watched))
    data = (watched.features, watched.codes)
    fitted = template.set_params(early_stopping_rounds=patience).fit(
        seen.features,
        seen.codes,
        base_margin=start,
        validation_data=data if start_watched is None else (*data, start_watched),
        memory=memory,
    )
    return fitted, fitted.predict_proba(watched.features, start_watched)


def _cross_fitted(
    template: BoostClassifier,
    seen: HeadInputs,
    temperature: float | None,
    seed: int,
    memory: str | int | None,
) -> tuple[BoostClassifier, NDArray[np.float32]]:
    """Choose the rounds on folds, then grow on all images; return the probabilities of the folds too."""
    margin = _margin(seen, temperature)
    template = template.set_params(early_stopping_rounds=None)
    heads, losses, rows = [], [], []
    for grown, left_out in folds_of(seen.codes, seen.groups, FOLDS, seed):
        start, start_out = (None if margin is None else margin[part] for part in (grown, left_out))
        data = (seen.features[left_out], seen.codes[left_out])
        head = clone(template).fit(
            seen.features[grown],
            seen.codes[grown],
            base_margin=start,
            validation_data=data if start_out is None else (*data, start_out),
            memory=memory,
        )
        heads.append((head, left_out, start_out))
        losses.append(head.evals_result_["validation"]["mlogloss"])
        rows.append(len(left_out))
    mean = np.average(losses, axis=0, weights=rows)
    rounds = int(mean.argmin()) + 1
    if margin is not None and mean[rounds - 1] >= log_loss(tempered(margin, 1.0), seen.codes):
        rounds = 0
    unseen = np.empty(seen.log_proba.shape, np.float32)
    for head, left_out, start_out in heads:
        if rounds:
            head.booster_, head.n_estimators_ = head.booster_[:rounds], rounds
            unseen[left_out] = head.predict_proba(seen.features[left_out], start_out)
        else:
            assert start_out is not None, "plain trees keep a round at least"
            unseen[left_out] = tempered(start_out, 1.0)
    final = template.set_params(n_estimators=rounds).fit(
        seen.features, seen.codes, base_margin=margin, memory=memory
    )
    return final, unseen


def _margin(seen: HeadInputs, temperature: float | None) -> NDArray[np.float32] | None:
    return None if temperature is None else seen.log_proba / np.float32(temperature)


def _best_weight(softmax: NDArray[np.float32], trees: NDArray[np.float32], codes: NDArray[np.intp]) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda weight: log_loss(_mixed(softmax, trees, weight), codes), bounds=(0, 1), method="bounded"
    )
    # The search stops short of the ends of its range.
    ends = [(log_loss(_mixed(softmax, trees, end), codes), end) for end in (0.0, 1.0)]
    return float(min([(float(found.fun), float(found.x)), *ends])[1])


def _mixed(softmax: NDArray[np.float32], trees: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    share = np.float32(weight)
    return share * softmax + (np.float32(1) - share) * trees


def log_loss(proba: NDArray[np.floating], codes: NDArray[np.intp]) -> float:
    """Return the mean of minus the logarithm of what each row's own class was given."""
    given = proba[np.arange(len(codes)), codes].astype(np.float64)
    return float(-np.log(np.maximum(given, 1e-15)).mean())
