"""Which images train the network, which the head, and on which it is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from cnnboost.boost.holdout import hold_out
from cnnboost.errors import DataError, ParameterError
from cnnboost.images.augment import Augmentation

if TYPE_CHECKING:
    from cnnboost.hybrid.classifier import HybridClassifier


def check_plan(
    hybrid: HybridClassifier,
    layers: Sequence[str],
    *,
    trained: bool,
    soft_targets: bool,
    networks: int,
    validated: bool,
) -> None:
    """Refuse parameters that are impossible or contradict each other."""
    if not layers or not all(isinstance(name, str) for name in layers):
        raise ParameterError(f"layer={hybrid.layer!r} names no layer; give 'fc1', or a list of names")
    if len(set(layers)) < len(layers):
        raise ParameterError(f"layer={hybrid.layer!r} names a layer twice")
    if not isinstance(hybrid.views, Integral) or hybrid.views < 1:
        raise ParameterError(f"views={hybrid.views!r} must be a whole number of at least 1")
    if hybrid.views > 2 and hybrid.augment is None:
        raise ParameterError(
            f"views={hybrid.views} of the image and its mirror image are too many; say how more of them "
            "differ, e.g. augment={'flip': 0.5, 'shift': 0.1}"
        )
    if hybrid.augment is not None:
        Augmentation.of(hybrid.augment)
    if not isinstance(hybrid.holdout, Real) or not 0 <= hybrid.holdout < 1:
        raise ParameterError(f"holdout={hybrid.holdout!r} must be a share of the images in [0, 1)")
    if hybrid.fit_on not in ("held-out", "train"):
        raise ParameterError(f"fit_on={hybrid.fit_on!r} is unknown; there are held-out, train")
    if not isinstance(hybrid.folds, Integral) or hybrid.folds < 0 or hybrid.folds == 1:
        raise ParameterError(f"folds={hybrid.folds!r} must be 0 for none, or at least 2")
    if trained and (hybrid.holdout or hybrid.folds):
        name = "holdout" if hybrid.holdout else "folds"
        raise ParameterError(
            f"{name} is for a CNN that is not trained yet: which images this one has seen is not known; pass "
            f"images that it has not seen to fit, and leave {name} out"
        )
    if soft_targets and not trained and (hybrid.holdout or hybrid.folds):
        name = "holdout" if hybrid.holdout else "folds"
        raise ParameterError(
            f"{name} trains the CNN on a part of the images, and its teacher's log-probabilities are of all "
            f"of them: train it first and give fit images that it has not seen, or leave {name} or the CNN's "
            "teacher out"
        )
    if hybrid.folds:
        if hybrid.holdout or validated:
            other = "holdout" if hybrid.holdout else "validation_data"
            raise ParameterError(f"folds and {other} both say what the head is chosen on; leave one out")
        if list(layers) != ["output"]:
            raise ParameterError(
                f"folds needs layer='output', not {hybrid.layer!r}: features of different networks share no "
                "basis, only their class probabilities do"
            )
        if hybrid.views > 1:
            raise ParameterError("folds asks each network about the images themselves; leave views out")
    if hybrid.holdout and validated:
        raise ParameterError("holdout and validation_data both say what the head is chosen on; leave one out")
    if hybrid.mode != "plain" and not (trained or hybrid.holdout or hybrid.folds or validated):
        raise ParameterError(
            f"mode={hybrid.mode!r} is chosen on images that the CNN was not trained on: give holdout=0.1, "
            "folds=5 or validation_data, or a CNN that is trained already and images that it has not seen"
        )


def held_part(
    X: np.ndarray, codes: NDArray[np.intp], share: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split images into those to train the network on and those held out, equal images together."""
    rest, held = hold_out(X.reshape(len(X), -1), codes, fraction=share, seed=seed)
    for code in np.unique(codes):
        kept, out = int(np.sum(codes[rest] == code)), int(np.sum(codes[held] == code))
        if not kept or not out:
            raise DataError(
                f"holdout={share} leaves class number {int(code)} with {kept} images to train on and {out} "
                "held out; give a larger share, or more images of that class"
            )
    return rest, held


def groups_of(X: np.ndarray) -> NDArray[np.intp]:
    """Number images so that equal ones share a number, and a side of every split."""
    _, groups = np.unique(X.reshape(len(X), -1), axis=0, return_inverse=True)
    return groups.reshape(-1)


def fold_parts(
    X: np.ndarray, codes: NDArray[np.intp], folds: int, seed: int, classes: NDArray[Any]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Split images into folds, class by class, equal images together."""
    groups = groups_of(X)
    distinct = np.array([len(np.unique(groups[codes == code])) for code in np.unique(codes)])
    if distinct.min() < folds:
        rarest = classes[np.unique(codes)[distinct.argmin()]]
        raise DataError(
            f"folds={folds} is more than class {rarest} allows, which has {distinct.min()} different images; "
            f"give folds={max(2, int(distinct.min()))} or fewer, or more images of it"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    yield from splitter.split(np.zeros(len(X)), codes, groups)
