"""Why a network did not learn: what can be seen in its losses, its pixels, its units and its predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cnnboost.cnn import CNNClassifier
from cnnboost.cnn.preprocessing import pixels_of
from cnnboost.metrics.scores import find_collapse

_STILL, _WORSE, _DEAD = 0.01, 1.5, 0.5
"""Change of the loss that counts as none; multiple of the loss of guessing that tells of too long steps;
share of dead units that is worth a word."""

_LATE = 0.9
"""Share of the epochs after which the loss is compared with the last."""

_CHUNK = 64
"""Images in a piece."""


def symptoms(
    cnn: CNNClassifier, X: np.ndarray, labels: np.ndarray, seen: dict[str, list[float]]
) -> list[str]:
    """Say what to look at where a network did not learn a few images by heart."""
    named = _rate(cnn)
    dead = {layer: share for layer, share in dead_units(cnn, X).items() if share >= _DEAD}
    found = [
        f"{share:.0%} of the units of {layer} are 0 for every image (dead ReLUs): lower {named}, or use "
        "another initialisation or leaky ReLUs"
        for layer, share in dead.items()
    ]
    found.append(_of_the_loss(seen, named, math.log(len(cnn.classes_)), bool(dead)))
    if cnn.pixels_ == "raw" and pixels_of(cnn.model_) is None:
        found.append("pixels go in as 0..255: begin the network with a Rescaling layer")
    codes = {name: code for code, name in enumerate(cnn.classes_.tolist())}
    confusion = np.zeros((len(codes), len(codes)), int)
    np.add.at(confusion, ([codes[n] for n in labels], [codes[n] for n in cnn.predict(X)]), 1)
    collapse = find_collapse(confusion, cnn.classes_.tolist())
    if collapse:
        found.append(f"the network {collapse}: the images make no difference to it")
    dropout = [layer.rate for layer in cnn.model_.layers if "Dropout" in type(layer).__name__ and layer.rate]
    if dropout:
        found.append(f"dropout of up to {max(dropout):g} is in force: try it without")
    return found


def symptoms_of_failure(cnn: CNNClassifier, failure: str) -> list[str]:
    """Say what to look at where a training broke off."""
    return [failure, f"look at {_rate(cnn)}, at cnn.loss, and at the scale of the pixels"]


def _rate(cnn: CNNClassifier) -> str:
    rate = cnn.learning_rate
    return f"cnn.learning_rate ({'the optimiser has its own' if rate is None else f'{rate:g}'})"


def _of_the_loss(seen: dict[str, list[float]], named: str, guessing: float, dead: bool) -> str:
    first, last = seen["loss"][0], seen["loss"][-1]
    course = f"the loss went from {first:.4g} to {last:.4g} in {len(seen['loss'])} epochs"
    if last > _WORSE * guessing:
        return f"{course}, guessing would give {guessing:.4g}: lower {named}"
    if abs(first - last) <= _STILL * abs(first):
        # Dead units bring the loss to rest as well, and a higher rate kills more of them.
        advice = "" if dead else f": raise {named}, look at the optimiser and at the scale of the pixels"
        return f"{course}, it hardly moved{advice}"
    if last > first:
        return f"{course}, it rose: lower {named}"
    late = seen["loss"][int(_LATE * len(seen["loss"])) - 1]
    if last < (1 - _STILL) * late:
        return f"{course} and still falls: allow more steps, or raise {named}"
    return f"{course} and has settled there: change {named}, or make the network wider"


def dead_units(cnn: CNNClassifier, X: np.ndarray) -> dict[str, float]:
    """Return the share of units that are 0 for every image, by layer with a ReLU."""
    import keras

    from cnnboost.cnn.inference import Inference

    relus = [layer for layer in cnn.model_.layers if _is_relu(layer)]
    if not relus:
        return {}
    run = Inference(keras.Model(cnn.model_.inputs, [layer.output for layer in relus]), cnn.pixels_)
    alive: list[Any] = [False] * len(relus)
    for start in range(0, len(X), _CHUNK):
        for i, values in enumerate(run(X[start : start + _CHUNK])):
            alive[i] = alive[i] | np.any(values > 0, axis=tuple(range(values.ndim - 1)))
    return {layer.name: float(np.mean(~units)) for layer, units in zip(relus, alive, strict=True)}


def _is_relu(layer: Any) -> bool:
    import keras

    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.ReLU) or activation is keras.activations.relu
