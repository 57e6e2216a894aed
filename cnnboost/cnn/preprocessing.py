"""What a model does to the pixels before its first weights, and the scale of pixels that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from cnnboost.cnn.graph import Step, Walk, upstream
from cnnboost.cnn.inputs import check_pixels
from cnnboost.errors import ModelError

_GREYS = (0.0, 1.0, 128.0, 255.0)
_SIDE = 224
"""Height and width of the grey images that a model of any size is tried with."""
_CLIPPED = {(0, 255): "raw", (0, 1): "unit", (-1, 1): "symmetric"}
_Line = tuple[float, float]
"""Gain, and the grey that becomes 0."""
_SAME: _Line = (1.0, 0.0)


def pixels_of(model: Any) -> str | None:
    """Say what scale of pixels the model expects, where its layers tell."""
    scales = find_scales(model)
    return next(iter(scales)) if len(scales) == 1 else None


def resolve_pixels(model: Any, pixels: str | None, place: str = "the model") -> str:
    """Settle the scale of pixels that a trained model is given."""
    if pixels is None:
        scales = find_scales(model)
        if len(scales) > 1:
            told = ", ".join(f"{layer!r} expects {scale}" for scale, layer in scales.items())
            raise ModelError(
                f"{place}: its layers disagree on the pixels they expect ({told}); "
                "say which: pixels= or --pixels"
            )
        pixels = next(iter(scales), "unit")
    if pixels != "raw" and "int" in str(model.inputs[0].dtype):
        raise ModelError(
            f"{place}: it takes whole numbers ({model.inputs[0].dtype}), so pixels={pixels!r} would be "
            "rounded; leave it out, or say raw"
        )
    return check_pixels(pixels, model.input_shape[-1])


def find_scales(model: Any) -> dict[str, str]:
    """Work out which scale of pixels makes sense of what a model does to them first.

    The calls are followed from the input as long as they have no weights: augmentation, resizing, arithmetic
    with constants and the like. Images of one grey each show what these do to the pixels.
    """
    import keras

    dtype = keras.backend.standardize_dtype(model.inputs[0].dtype)
    if "int" in dtype:
        return {"raw": "input"}
    image = keras.Input(model.input_shape[1:], dtype=dtype)
    walk = Walk(image)
    with suppress(ModelError):  # what comes before code that cannot be followed still tells
        walk.model(model, image)
    steps = walk.steps
    early: list[int] = []
    for i, step in enumerate(steps):
        if _is_arithmetic(step) and set(step.sources) <= {-1, *early}:
            early.append(i)
    told = _Told(steps, early, image)
    found: dict[str, str] = {}
    used = {source for step in steps for source in step.sources}
    for i, step in enumerate(steps):
        ends = [i] if i not in used and not step.idle else []
        for end in ends if i in early else step.sources:
            scale, layer = told.of_path(end, step)
            if scale:
                found.setdefault(scale, layer)
    return found


class _Told:
    """What the early steps of a model say about the pixels it expects."""

    def __init__(self, steps: Sequence[Step], early: Sequence[int], image: Any) -> None:
        self._steps = steps
        self._lines: dict[int, _Line | None] = {-1: (1.0, 0.0)}
        self._scales: dict[int, str | None] = {-1: None}
        for i, values in zip(early, _of_greys(image, [steps[i].tensor for i in early]), strict=True):
            self._lines[i] = _line(values)
            self._scales[i] = self._of_step(i)

    def of_path(self, end: int, user: Step) -> tuple[str | None, str]:
        """Return the scale that a path from the input to a layer with weights wants, and who says so."""
        if end not in self._scales:
            return None, ""
        path = upstream(self._steps, end)
        if user.kind == "BatchNormalization" and self._lines[end] == _SAME:
            mean, variance = (
                np.asarray(v).mean() for v in (user.layer.moving_mean, user.layer.moving_variance)
            )
            # Moving averages begin at 0 and 1; after a short training, only a mean says anything.
            if (mean, variance) != (0, 1):
                return _of_line((1 / np.sqrt(variance), mean), wide=None), user.path
        for i in (end, *path):
            if self._scales[i]:
                return self._scales[i], self._steps[i].path
        # A Rescaling that changes nothing is there to mark that none is wanted.
        marks = [self._steps[i].path for i in path if self._steps[i].kind == "Rescaling"]
        return ("raw", marks[0]) if marks else (None, "")

    def _of_step(self, i: int) -> str | None:
        step, line = self._steps[i], self._lines[i]
        fresh = all(self._lines[source] == _SAME for source in step.sources)
        if step.kind == "Clip" and fresh:
            return _CLIPPED.get((step.layer.x_min, step.layer.x_max))
        if line is None or line == _SAME:
            return None
        return _of_line(line, wide="symmetric" if step.kind == "Normalization" and fresh else "unit")


def _is_arithmetic(step: Step) -> bool:
    weights = [w for w in getattr(step.layer, "weights", ()) if "seed_generator" not in w.path]
    return step.kind == "Normalization" or (not weights and step.kind != "Lambda")


def _of_greys(image: Any, tensors: Sequence[Any]) -> list[np.ndarray]:
    """Return what becomes of images of one grey each."""
    import keras

    if not tensors:
        return []
    shape = [_SIDE if side is None else side for side in image.shape[1:]]
    greys = np.broadcast_to(np.reshape(_GREYS, (-1, 1, 1, 1)), (len(_GREYS), *shape))
    outputs = keras.Model(image, list(tensors))(greys.astype(image.dtype), training=False)
    found = [keras.ops.cast(output, "float32") for output in keras.tree.flatten(outputs)]
    return [keras.ops.convert_to_numpy(output) for output in found]


def _line(values: np.ndarray) -> _Line | None:
    """Return `gain` and `zero` of `gain * (grey - zero)`; None where it is no line, or says nothing."""
    if len(values) != len(_GREYS):
        return None
    black, dark, grey, white = values.reshape(len(values), -1).astype(np.float64)
    gain = (white - black) / 255
    # What was padded has no gain; what was divided by itself is no number.
    there = np.isfinite(gain) & (np.abs(gain) > 1e-6) & (np.abs(gain) < 1e4)
    if not there.any():
        return None
    black, dark, grey, gain = black[there], dark[there], grey[there], gain[there]
    off = np.abs([dark - black - gain, grey - black - 128 * gain]).max(axis=0)
    if np.median(off / np.abs(255 * gain)) > 0.01:
        return None
    line = float(np.median(gain)), float(np.median(-black / gain))
    return _SAME if np.allclose(line, _SAME, atol=1e-3) else line


def _of_line(line: _Line, wide: str | None) -> str | None:
    """Return the scale whose pixels a line brings to about 0; `wide` where greys of 0..1 deviate too much."""
    gain, zero = abs(line[0]), line[1]
    if gain < 0.2 or 1.5 < zero <= 300:
        return "raw"
    if -0.01 <= zero <= 1.05:
        return "unit" if gain**-2 <= 1.1 * zero * (1 - zero) else wide
    return "symmetric" if -1.05 <= zero < 0 else None
