"""Cross-fitting: a head scored on images of which none decided anything about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnboost.boost import BoostClassifier
from cnnboost.errors import DataError, ParameterError
from cnnboost.holdout import drawn, folds_of, groups_of
from cnnboost.hybrid.calibration import fit_temperature, tempered
from cnnboost.hybrid.modes import FOLDS, FittedMode, HeadInputs, fit_mode
from cnnboost.hybrid.rivals import FittedRival, Rival, best_of


@dataclass(frozen=True)
class CrossFitted:
    """A classifier on images of which none decided anything about it.

    `heads` holds which rows were scored by which heads: one, or one for each member of a bagged hybrid.
    """

    proba: NDArray[np.float32]
    rounds: list[int] = field(default_factory=list)
    temperatures: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    heads: list[tuple[NDArray[np.intp], tuple[FittedMode, ...]]] = field(default_factory=list)
    chosen: list[dict[str, Any]] = field(default_factory=list)


class CrossFit:
    """Folds of the images to score, each with the images that heads for it are fitted on.

    These are the other folds, and `more` where there are others that the network has not seen. Without folds
    (0) they are `more` alone. `groups` numbers the images to score as `more.groups` numbers the others.
    """

    def __init__(
        self,
        views: Sequence[HeadInputs],
        images: np.ndarray,
        n_classes: int,
        *,
        folds: int,
        seed: int,
        grown: HeadInputs | None = None,
        more: HeadInputs | None = None,
        groups: NDArray[np.intp] | None = None,
        memory: str | int | None = None,
    ) -> None:
        self.views, self.n_classes, self.seed, self._memory = list(views), n_classes, seed, memory
        for name, rows in (("grown", grown), ("more", more)):
            if rows is not None and rows.groups is None:
                raise ParameterError(
                    f"{name} has no groups: say with them which of the images each row shows"
                )
        if not folds and more is None:
            raise ParameterError(
                "folds=0 leaves heads nothing to be fitted on; give 2 or more, or more images"
            )
        for view in self.views:
            if not len(view.features) == len(view.log_proba) == len(view.codes) == len(images):
                raise ParameterError(
                    f"{len(images)} images, {len(view.features)} rows of features, {len(view.log_proba)} of "
                    f"log-probabilities and {len(view.codes)} labels are not of the same images"
                )
        self._grown, self._more = grown, more
        codes = self.views[0].codes
        self._groups = groups_of(images) if groups is None else groups
        everything = (np.empty(0, np.intp), np.arange(len(codes)))
        self._parts = folds_of(codes, self._groups, folds, seed) if folds else [everything]

    @property
    def images_per_head(self) -> int:
        """Different images that a head is fitted on at least."""
        more = [] if self._more is None else [self._more.groups]
        own = (np.unique(np.concatenate([self._groups[others], *more])) for others, _ in self._parts)
        return min(map(len, own))

    def softmax(self) -> tuple[CrossFitted, CrossFitted]:
        """Score the CNN: as it is, and at a temperature that is fitted on the other folds."""
        plain = np.mean([np.exp(view.log_proba) for view in self.views], axis=0, dtype=np.float32)
        calibrated, temperatures = np.empty_like(plain), []
        for chosen, scored in self._parts:
            others = self._choosing(chosen)
            temperature = fit_temperature(others.log_proba, others.codes)
            temperatures.append(temperature)
            parts = [tempered(view.log_proba[scored], temperature) for view in self.views]
            calibrated[scored] = np.mean(parts, axis=0, dtype=np.float32)
        return (
            CrossFitted(plain / plain.sum(axis=1, keepdims=True)),
            CrossFitted(calibrated, temperatures=temperatures),
        )

    def check_rows(self, n: int, modes: Sequence[str]) -> None:
        """Refuse a number of images that is too small for heads in these modes, before any is fitted."""
        least = max(map(_least, modes), default=1)
        codes = self.views[0].codes
        for chosen, _ in self._parts:  # by codes and groups alone: features are large
            own, groups = codes[chosen], self._groups[chosen]
            if self._more is not None:
                own = np.concatenate([own, self._more.codes])
                groups = np.concatenate([groups, self._more.groups])
            self._drawn(own, groups, n, least)

    def head(
        self, mode: str, boost: BoostClassifier, grown_on: HeadInputs | None = None, n: int | None = None
    ) -> CrossFitted:
        """Score a head in one mode, fitted on `n` of the images that there are for it, or on all."""
        found = CrossFitted(np.empty(self.views[0].log_proba.shape, np.float32))
        fixed: FittedMode | None = None
        if mode == "plain" and grown_on is not None:
            # Nothing about it is chosen.
            fixed = fit_mode(mode, boost, grown_on, self.n_classes, memory=self._memory)
        for chosen, scored in self._parts:
            fitted = fixed or fit_mode(
                mode,
                boost,
                self._some(self._own(chosen), n, _least(mode)) if grown_on is None else grown_on,
                self.n_classes,
                watched=None if grown_on is None else self._together(chosen),
                seed=self.seed,
                memory=self._memory,
            )
            parts = [
                fitted.predict_proba(view.features[scored], view.log_proba[scored]) for view in self.views
            ]
            found.proba[scored] = np.mean(parts, axis=0, dtype=np.float32)
            found.rounds.append(fitted.boost.n_estimators_)
            found.temperatures.append(fitted.temperature)
            found.weights.append(fitted.weight)
            found.heads.append((scored, (fitted,)))
        return found

    def rival(self, rival: Rival, grown_on: HeadInputs | None = None, n: int | None = None) -> CrossFitted:
        """Score another classifier on the same rows and views, fitted on as many images."""
        found = CrossFitted(np.empty(self.views[0].log_proba.shape, np.float32))
        fits: list[FittedRival] = []
        if grown_on is not None and not rival.calibrates:
            fits = rival.fit_each(grown_on, self.n_classes, self.seed)
        for others, scored in self._parts:
            if fits:
                fitted = best_of(fits, self._together(others))
            else:
                seen = self._choosing if rival.calibrates else self._own
                fitted = rival.fit(self._some(seen(others), n), self.n_classes, self.seed)
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
            return self._choosing(rows)
        assert grown.groups is not None  # checked at the start
        return self._with_more(grown.take(np.flatnonzero(np.isin(grown.groups, self._groups[rows]))))

    def _choosing(self, rows: NDArray[np.intp]) -> HeadInputs:
        """Take what temperatures are chosen on: images as predictions see them, and the others."""
        return self._with_more(self._together(rows))

    def _with_more(self, own: HeadInputs) -> HeadInputs:
        if self._more is None:
            return own
        if not len(own.codes):
            return self._more
        return own.below(self._more)

    def _some(self, seen: HeadInputs, n: int | None, least: int = 1) -> HeadInputs:
        """Draw images of what a head could be fitted on, each in all its views."""
        if n is None:
            return seen
        assert seen.groups is not None
        return seen.take(self._drawn(seen.codes, seen.groups, n, least))

    def _drawn(
        self, codes: NDArray[np.intp], groups: NDArray[np.intp], n: int, least: int
    ) -> NDArray[np.intp]:
        """Return the rows of `n` images; refuse a draw with fewer than `least` of a class."""
        rows = drawn(codes, groups, n, self.seed)
        for code in np.unique(codes):
            different = len(np.unique(groups[rows][codes[rows] == code]))
            if different < least:
                raise DataError(
                    f"among {n} images for a head, {different} are of class number {code}, and the choice of "
                    f"its rounds takes {least}; give more rows"
                )
        return rows

    def _together(self, rows: NDArray[np.intp]) -> HeadInputs:
        """Put all views of some images together."""
        groups = self._groups[rows]
        first, *others = (view.take(rows)._replace(groups=groups) for view in self.views)
        return first.below(*others) if others else first  # a single one may lie on the disk


class BagFit:
    """The cross-fits of the members of a bagged hybrid on the images to score, and their mean."""

    def __init__(self, members: Sequence[CrossFit]) -> None:
        self.members = list(members)

    @property
    def images_per_head(self) -> int:
        """Different images that a head is fitted on at least."""
        return min(member.images_per_head for member in self.members)

    def softmax(self) -> tuple[CrossFitted, CrossFitted]:
        """Score the networks: as they are, and each at its own temperature."""
        plain, calibrated = zip(*(member.softmax() for member in self.members), strict=True)
        return _mean(plain), _mean(calibrated)

    def check_rows(self, n: int, modes: Sequence[str]) -> None:
        """Refuse a number of images that is too small for the head of any network."""
        for member in self.members:
            member.check_rows(n, modes)

    def head(
        self, mode: str, boost: BoostClassifier, grown_on: HeadInputs | None = None, n: int | None = None
    ) -> CrossFitted:
        """Score heads in one mode, one for each network."""
        return _mean([member.head(mode, boost, grown_on, n) for member in self.members])

    def rival(self, rival: Rival, grown_on: HeadInputs | None = None, n: int | None = None) -> CrossFitted:
        """Score another classifier, one for each network."""
        return _mean([member.rival(rival, grown_on, n) for member in self.members])


def _least(mode: str) -> int:
    """Images of each class that the choice of a head's rounds takes."""
    return 1 if mode == "plain" else FOLDS


def _mean(parts: Sequence[CrossFitted]) -> CrossFitted:
    """Return the mean of probabilities; what was chosen for each stays side by side."""
    heads = [
        (scored[0][0], tuple(head for _, of in scored for head in of))
        for scored in zip(*(part.heads for part in parts), strict=True)
    ]
    return CrossFitted(
        np.mean([part.proba for part in parts], axis=0, dtype=np.float32),
        [rounds for part in parts for rounds in part.rounds],
        [temperature for part in parts for temperature in part.temperatures],
        [weight for part in parts for weight in part.weights],
        heads,
        [settings for part in parts for settings in part.chosen],
    )
