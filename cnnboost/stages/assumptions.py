"""Assumptions about a model file from elsewhere, put to the test on a few labelled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.cnn.inference import Inference
from cnnboost.cnn.inputs import SCALES, scale_pixels
from cnnboost.cnn.interface import probabilities
from cnnboost.images import ImageSet

_FIRST, _IMAGES = 64, 320
"""Images that every assumption is tried on, and those for the ones that do well there: full chunks."""
_GAIN, _P_VALUE = 0.1, 1e-3
"""Another assumption is far better from so much accuracy on, if McNemar's test is below that."""
_HIGH = 0.95
"""Accuracy on the first images from which on no other assumption can be far better."""
_NEAR = 0.05
"""Accuracies that are as good as equal."""
_SOUND = 0.6
"""Lowest accuracy on the classes that a permutation moves at which it counts."""
_SHOWN = 10
"""Names that a message shows."""


@dataclass(frozen=True)
class Assumption:
    """A scale of pixels, and the classes in the order of the outputs."""

    pixels: str
    classes: tuple[str, ...]


class Trial:
    """Accuracy of a softmax under any assumption, on the same few images, equally many of each class."""

    def __init__(self, model: Any, kind: str, images: ImageSet) -> None:
        rows = images.train if "train" in images.split_names else images[images.split_names[0]]
        chosen = _balanced(rows.y)
        self._X = [rows.at(part) for part in (chosen[:_FIRST], chosen[_FIRST:]) if len(part)]
        self._codes = rows.y[chosen]
        self._names = np.asarray(images.classes)[self._codes]
        self._classes = images.classes
        run = Inference(model)
        self._run: Callable[[np.ndarray], np.ndarray] = lambda x: probabilities(run(x)[0], kind)
        self._said: dict[str, list[np.ndarray]] = {}
        by_channel = images.shape[-1] == 3
        self.scales = [name for name in SCALES if by_channel or name not in ("caffe", "torch")]

    def right(self, of: Assumption, whole: bool = True) -> np.ndarray:
        """Tell for each image whether it is called by its name."""
        outputs_of = self._columns(of.pixels, whole)
        return np.asarray(np.asarray(of.classes)[outputs_of] == self._names[: len(outputs_of)])

    def accuracy(self, of: Assumption) -> float:
        """Return the share of the images that are called by their names."""
        return float(self.right(of).mean())

    def told(self, assumptions: Sequence[Assumption]) -> str:
        """Say how accurate assumptions are, by what sets them apart."""
        apart = [len({getattr(one, key) for one in assumptions}) > 1 for key in ("pixels", "classes")]
        parts = []
        for one in assumptions:
            names = [f"pixels {one.pixels}"] if apart[0] else []
            names += [f"classes {_shortened(one.classes)}"] if apart[1] else []
            parts.append(f"{self.accuracy(one):.1%} of {len(self._names)} images with {' and '.join(names)}")
        return ", and on ".join(parts)

    def far_better(
        self,
        one: Assumption,
        other: Assumption,
        tests: int = 1,
        rows: Any = slice(None),
        gain: float = _GAIN,
    ) -> bool:
        """Tell whether an assumption is far better, beyond chance and beyond calling all one class."""
        from scipy.stats import binomtest

        a, b = self.right(one)[rows], self.right(other)[rows]
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        _, counts = np.unique(self._names[rows], return_counts=True)
        if a.mean() - max(b.mean(), counts.max() / counts.sum()) < gain:
            return False
        return bool(binomtest(only_a, only_a + only_b, 0.5, "greater").pvalue < _P_VALUE / tests)

    def best(self, mine: Assumption, others: Sequence[Assumption]) -> Assumption | None:
        """Return the best of other assumptions, if it is far better than mine."""
        first = self.right(mine, whole=False).mean()
        if first >= _HIGH:
            return None
        hopeful = [other for other in others if self.right(other, whole=False).mean() > first]
        better = [other for other in hopeful if self.far_better(other, mine, len(others))]
        if not better:
            permuted = [self._permuted(scale, float(first)) for scale in self.scales]
            better = [other for other in permuted if other and self._is_sound(other, mine, len(permuted))]
        top = max(map(self.accuracy, better), default=0.0)
        # A network may be as accurate at another scale still, but it is not as sure of what is right.
        return min((one for one in better if self.accuracy(one) >= top - _NEAR), key=self._loss, default=None)

    def _permuted(self, scale: str, least: float) -> Assumption | None:
        """Assign classes to outputs as suits half of the images best, if the first ones promise anything."""
        half = len(self._names) // 2
        if np.bincount(self._codes[:half], minlength=len(self._classes)).min() < 2:
            return None
        if self._assigned(self._columns(scale, False))[1] < max(_SOUND - _GAIN, least + _GAIN):
            return None
        order, _ = self._assigned(self._columns(scale, True)[:half])
        return Assumption(scale, tuple(self._classes[code] for code in order))

    def _assigned(self, outputs_of: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the best class for each output, and the accuracy on these images themselves."""
        from scipy.optimize import linear_sum_assignment

        counts = np.zeros((len(self._classes),) * 2, int)
        np.add.at(counts, (outputs_of, self._codes[: len(outputs_of)]), 1)
        outputs, codes = linear_sum_assignment(-counts)
        return codes, float(counts[outputs, codes].sum() / len(outputs_of))

    def _is_sound(self, other: Assumption, mine: Assumption, tests: int) -> bool:
        """Hold a permutation against the other half: most images of the classes it moves must be right."""
        half = len(self._names) // 2
        moved = [a for a, b in zip(other.classes, mine.classes, strict=True) if a != b]
        of_moved = np.isin(self._names[half:], moved)
        if not of_moved.any() or self.right(other)[half:][of_moved].mean() < _SOUND:
            return False
        return self.far_better(other, mine, tests, slice(half, None), 2 * _GAIN)

    def _loss(self, of: Assumption) -> float:
        """Return the mean negative log-probability of the right names."""
        column = {name: i for i, name in enumerate(of.classes)}
        proba = self._proba(of.pixels)
        right = proba[np.arange(len(proba)), [column[name] for name in self._names]]
        return float(-np.log(np.maximum(right, 1e-7)).mean())

    def _columns(self, scale: str, whole: bool) -> np.ndarray:
        """Return the output that is highest for each image, of the first ones or of all."""
        return self._proba(scale, None if whole else 1).argmax(axis=1)

    def _proba(self, scale: str, parts: int | None = None) -> np.ndarray:
        known = self._said.setdefault(scale, [])
        for x in self._X[len(known) : parts]:
            known.append(self._run(np.asarray(scale_pixels(x.astype(np.float32), scale))))
        return np.concatenate(known[:parts])


def _shortened(names: Sequence[str]) -> str:
    return ",".join(names if len(names) <= _SHOWN else [*names[:_SHOWN], "..."])


def _balanced(y: np.ndarray) -> np.ndarray:
    """Choose rows, seeded: of every class in turn, as long as it has some."""
    order = np.random.default_rng(0).permutation(len(y))
    turn = np.empty(len(y), int)
    for code in np.unique(y):
        of_class = order[y[order] == code]
        turn[of_class] = np.arange(len(of_class))
    return order[np.argsort(turn[order], kind="stable")][:_IMAGES]
