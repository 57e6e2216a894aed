"""Which images train the network, which the head, and on which it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING

from cnnboost.errors import ParameterError
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
