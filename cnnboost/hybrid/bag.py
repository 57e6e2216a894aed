"""Bagged hybrids: a network for each fold, with a head of its own on the images that it has not seen."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from cnnboost.errors import ParameterError
from cnnboost.holdout import Sides, folds_of_every_class, groups_of
from cnnboost.hybrid.modes import FOLDS

if TYPE_CHECKING:
    from cnnboost.cnn.classifier import CNNClassifier
    from cnnboost.hybrid.classifier import HybridClassifier

log = logging.getLogger("cnnboost")


def bag_folds(
    X: np.ndarray,
    codes: NDArray[np.intp],
    folds: int,
    seed: int,
    classes: Sequence[Any] | NDArray[Any],
    least: int = FOLDS,
) -> list[Sides]:
    """Split images into folds on which heads can be fitted; equal images stay together.

    Heads that choose their rounds do so on folds of these images, each of which wants every class.
    """
    return folds_of_every_class(codes, groups_of(X), folds, seed, classes, least)


def announced(parts: Sequence[Sides]) -> Iterator[tuple[int, Sides]]:
    """Number the folds, and tell how many trainings there are and how long those to come may take."""
    total = sum(len(part) for part in parts[0])
    log.info("%d networks, each trained on about %d of %d images", len(parts), len(parts[0][0]), total)
    longest = 0.0
    for number, sides in enumerate(parts):
        started = time.monotonic()
        yield number, sides
        # Networks that exist already take no time, so they do not count.
        longest = max(longest, time.monotonic() - started)
        left = timedelta(seconds=round(longest * (len(parts) - number - 1)))
        log.info("network %d of %d is ready%s", number + 1, len(parts), f", {left} left" if left else "")


def fit_members(
    template: HybridClassifier,
    cnn: CNNClassifier,
    X: np.ndarray,
    codes: NDArray[np.intp],
    classes: NDArray[Any],
    more: tuple[np.ndarray, NDArray[np.intp]] | None,
) -> list[HybridClassifier]:
    """Train a network outside each fold, and fit it a head on the images of the fold and on `more`."""
    least = 1 if template.mode == "plain" else FOLDS
    parts = bag_folds(X, codes, template.folds, template.random_state, classes, least)
    members = []
    for _, (rest, held) in announced(parts):
        network = clone(cnn).set_params(classes=list(classes), image_shape=None)
        network.fit(X[rest], classes[codes[rest]])
        unseen, labels = X[held], codes[held]
        if more is not None:
            unseen, labels = (np.concatenate(pair) for pair in zip((unseen, labels), more, strict=True))
        member: HybridClassifier = clone(template)
        member.set_params(cnn=network, folds=0, fit_on="held-out", image_shape=None)
        members.append(member.fit(unseen, classes[labels]))
    return members


def check_members(members: Sequence[HybridClassifier]) -> None:
    """Refuse hybrids whose probabilities have no mean, or no common description."""
    if not members:
        raise ParameterError("a bagged hybrid has one member at least")
    first = members[0]
    for i, member in enumerate(members[1:], 1):
        if not np.array_equal(member.classes_, first.classes_):
            raise ParameterError(f"member {i} knows other classes than the first one, or in another order")
        for name in ("mode", "layer", "tta", "norm"):
            one, other = getattr(first, name), getattr(member, name)
            if one != other:
                raise ParameterError(f"member {i} has {name}={other!r} and the first one {name}={one!r}")
