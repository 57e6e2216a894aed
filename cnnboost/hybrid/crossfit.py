"""Cross-fitting: a head scored on images of which none decided anything about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnboost.boost import BoostClassifier
from cnnboost.errors import ParameterError
from cnnboost.holdout import folds_of, groups_of
from cnnboost.hybrid.modes import FittedMode, HeadInputs, fit_mode
from cnnboost.hybrid.rivals import FittedRival, Rival, best_of
from cnnboost.hybrid.temperature import fit_temperature, tempered


@dataclass(frozen=True)
class CrossFitted:
    """A classifier on images of which none decided anything about it."""

    proba: NDArray[np.float32]
    rounds: list[int] = field(default_factory=list)
    temperatures: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    heads: list[tuple[NDArray[np.intp], FittedMode]] = field(default_factory=list)
    chosen: list[dict[str, Any]] = field(default_factory=list)


class CrossFit:
    """Folds of the images to score."""

    def __init__(
        self,
        views: Sequence[HeadInputs],
        images: np.ndarray,
        n_classes: int,
        *,
        folds: int,
        seed: int,
        grown: HeadInputs | None = None,
    ) -> None:
        self.views, self.n_classes, self.seed = list(views), n_classes, seed
        if grown is not None and grown.groups is None:
            raise ParameterError("grown has no groups: say with them which of the images each row shows")
        for view in self.views:
            if not len(view.features) == len(view.log_proba) == len(view.codes) == len(images):
                raise ParameterError(
                    f"{len(images)} images, {len(view.features)} rows of features, {len(view.log_proba)} of "
                    f"log-probabilities and {len(view.codes)} labels are not of the same images"
                )
        self._grown = grown
        codes = self.views[0].codes
        self._groups = groups_of(images)
        self._parts = folds_of(codes, self._groups, folds, seed)

    def softmax(self) -> tuple[CrossFitted, CrossFitted]:
        """Score the CNN: as it is, and at a temperature that is fitted on the other folds."""
        plain = np.mean([np.exp(view.log_proba) for view in self.views], axis=0, dtype=np.float32)
        calibrated, temperatures = np.empty_like(plain), []
        for chosen, scored in self._parts:
            others = self._together(chosen)
            temperature = fit_temperature(others.log_proba, others.codes)
            temperatures.append(temperature)
            parts = [tempered(view.log_proba[scored], temperature) for view in self.views]
            calibrated[scored] = np.mean(parts, axis=0, dtype=np.float32)
        return (
            CrossFitted(plain / plain.sum(axis=1, keepdims=True)),
            CrossFitted(calibrated, temperatures=temperatures),
        )

    def head(self, mode: str, boost: BoostClassifier, grown_on: HeadInputs | None = None) -> CrossFitted:
        """Score a head in one mode."""
        found = CrossFitted(np.empty(self.views[0].log_proba.shape, np.float32))
        fixed: FittedMode | None = None
        if mode == "plain" and grown_on is not None:
            fixed = fit_mode(mode, boost, grown_on, self.n_classes)  # nothing about it is chosen
        for chosen, scored in self._parts:
            fitted = fixed or fit_mode(
                mode,
                boost,
                self._own(chosen) if grown_on is None else grown_on,
                self.n_classes,
                watched=None if grown_on is None else self._together(chosen),
                seed=self.seed,
            )
            parts = [
                fitted.predict_proba(view.features[scored], view.log_proba[scored]) for view in self.views
            ]
            found.proba[scored] = np.mean(parts, axis=0, dtype=np.float32)
            found.rounds.append(fitted.boost.n_estimators_)
            found.temperatures.append(fitted.temperature)
            found.weights.append(fitted.weight)
            found.heads.append((scored, fitted))
        return found

    def rival(self, rival: Rival, grown_on: HeadInputs | None = None) -> CrossFitted:
        """Score another classifier on the same rows and views."""
        found = CrossFitted(np.empty(self.views[0].log_proba.shape, np.float32))
        fits: list[FittedRival] = []
        if grown_on is not None and not rival.calibrates:
            fits = rival.fit_each(grown_on, self.n_classes, self.seed)
        for others, scored in self._parts:
            if fits:
                fitted = best_of(fits, self._together(others))
            else:
                seen = self._together if rival.calibrates else self._own
                fitted = rival.fit(seen(others), self.n_classes, self.seed)
            parts = [
                fitted.predict_proba(np.asarray(view.features[scored]), view.log_proba[scored])
                for view in self.views
            ]
            found.proba[scored] = np.mean(parts, axis=0, dtype=np.float32)
            found.chosen.append(fitted.settings)
            found.temperatures.append(fitted.temperature)
        return found

    def _own(self, rows: NDArray[np.intp]) -> HeadInputs:
        """Take what trees are grown on of some images."""
        grown = self._grown
        if grown is None:
            return self._together(rows)
        assert grown.groups is not None  # checked at the start
        return grown.take(np.flatnonzero(np.isin(grown.groups, self._groups[rows])))

    def _together(self, rows: NDArray[np.intp]) -> HeadInputs:
        """Put all views of some images together."""
        parts = [view.take(rows) for view in self.views]
        return HeadInputs(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.log_proba for part in parts]),
            np.concatenate([part.codes for part in parts]),
            np.tile(self._groups[rows], len(parts)),
        )
