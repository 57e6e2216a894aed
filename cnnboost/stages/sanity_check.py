"""Can this network learn at all? It is trained on a few images until it knows them by heart.

A network that fits and is fed rightly does so quickly, whatever it is worth on other images. One that does
not has a fault that no amount of data mends: its losses, pixels, units and predictions tell of it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cnnboost.cnn import CNNClassifier
from cnnboost.cnn.inference import Inference
from cnnboost.cnn.preprocessing import pixels_of
from cnnboost.errors import ParameterError, TrainingError
from cnnboost.files import write_json
from cnnboost.images import Split
from cnnboost.metrics.scores import find_collapse
from cnnboost.stages.job import Job
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.provenance import made_with
from cnnboost.stages.training import estimator

log = logging.getLogger("cnnboost")

FORMAT = 1
STEPS = 2000
"""Steps of the optimiser after which it counts as not learnt."""

#: What is switched off, and its value then: all that changes images, steps or weights on the way.
_OFF: dict[str, Any] = {
    "augment": None,
    "balance": False,
    "mixup": 0.0,
    "early_stopping": None,
    "reduce_lr": None,
    "monitor": None,
    "schedule": "constant",
    "step_epochs": None,
    "warmup": None,
    "decay": 0.0,
    "ema": None,
    "validation_fraction": 0.0,
    "validation_freq": 1,
}
#: Of these the user is not told: they say how something else is done.
_UNSAID = {"monitor", "step_epochs", "warmup", "validation_fraction", "validation_freq"}

_STILL, _WORSE, _DEAD = 0.01, 1.5, 0.5
"""Change of the loss that counts as none; multiple of the loss of guessing that tells of too long steps;
share of dead units that is worth a word."""

_LATE = 0.9
"""Share of the epochs after which the loss is compared with the last."""

_CHUNK = 64
"""Images in a piece."""


def overfit(job: Job, n: int, *, steps: int = STEPS) -> Outcome:
    """Train a copy of the recipe's CNN on a few training images until all of them are recognised.

    Network, optimiser, learning rate, batch size, loss and regularisation (dropout, L2, label smoothing) are
    the recipe's. Augmentation, balancing, early stopping, schedules and averaged weights are switched off,
    and the log says which. Accuracy is that of inference, without dropout. Nothing is written but
    `overfit.json` in the recipe's reports.
    """
    if steps < 1:
        raise ParameterError(f"steps={steps}: at least 1 step is needed")
    train = job.images.train
    rows = _chosen(train, n, job.recipe.cnn.seed)
    X = np.concatenate([train.part(row, row + 1) for row in rows])
    labels = train.labels[rows]
    off = _switched_off(job)
    log.info(
        "overfit: %d of %d training images; switched off: %s", n, len(train), ", ".join(off) or "nothing"
    )
    cnn = estimator(job).set_params(**_OFF)
    per_epoch = math.ceil(n / cnn.batch_size)
    epochs = math.ceil(steps / per_epoch)
    with job.progress("overfit", "epoch") as report:
        watch = _until_known(report, epochs)
        cnn.set_params(epochs=epochs, callbacks=[watch])
        failure = _fit(cnn, X, labels) or watch.failure
    seen: dict[str, list[float]] = watch.seen
    accuracy = None if failure else float(np.mean(cnn.predict(X) == labels))
    learnt = accuracy == 1.0
    metadata = {
        "format": FORMAT,
        "recipe": job.recipe.name,
        "learnt": learnt,
        "images": n,
        "classes": {name: int(np.sum(labels == name)) for name in train.classes},
        "accuracy": accuracy,
        "epochs": len(seen["loss"]),
        "steps": len(seen["loss"]) * per_epoch,
        "steps_at_most": epochs * per_epoch,
        "failure": failure,
        "symptoms": []
        if learnt
        else symptoms_of_failure(cnn, failure)
        if failure
        else symptoms(cnn, X, labels, seen),
        "switched_off": off,
        "seed": job.recipe.cnn.seed,
        "data_digest": job.images.digest,
        "history": seen,
        **made_with(job.recipe),
    }
    return Outcome(metadata, write_json(job.reports_dir / "overfit.json", metadata))


def _fit(cnn: CNNClassifier, X: np.ndarray, labels: np.ndarray) -> str | None:
    """Train; return why it broke off, if it did."""
    try:
        # Scored as validation images are: in inference mode, after each epoch.
        cnn.fit(X, labels, validation_data=(X, labels))
    except TrainingError as error:
        return str(error)
    return None


def _switched_off(job: Job) -> list[str]:
    """Name the recipe's choices that are not in force."""
    table = job.recipe.cnn
    return [
        f"{name}={getattr(table, name)!r}"
        for name, value in _OFF.items()
        if name not in _UNSAID and getattr(table, name) != value
    ]


def _chosen(split: Split, n: int, seed: int) -> np.ndarray:
    """Choose rows of a split: each class by its share, one of each at least, no pixels twice."""
    present = np.unique(split.y)
    if n < max(2, len(present)):
        raise ParameterError(
            f"overfit={n}: give at least {max(2, len(present))} images, one of each class; with one "
            "class alone a network that always says it would pass"
        )
    order = np.random.default_rng(seed).permutation(len(split))
    place = np.empty(len(split))
    for code in present:
        of_class = order[split.y[order] == code]
        # The first of each class comes before all others; then each class by its share.
        place[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
        place[of_class[0]] = -1
    seen: set[bytes] = set()
    rows: list[int] = []
    for row in order[np.argsort(place[order], kind="stable")]:
        pixels = split.part(row, row + 1).tobytes()
        if pixels not in seen:
            seen.add(pixels)
            rows.append(int(row))
        if len(rows) == n:
            return np.array(rows)
    raise ParameterError(f"overfit={n}: there are only {len(rows)} different training images")


def _until_known(report: Callable[[int, int], None], epochs: int) -> Any:
    """Build the callback that stops once all is known, and keeps how it went."""
    import keras

    class UntilKnown(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[str, list[float]] = {"loss": [], "accuracy": []}
            self.failure: str | None = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if not np.isfinite(logs["val_loss"]):
                # The last step of the epoch did it: the loss of training is of the steps before.
                self.failure = f"the loss is {logs['val_loss']} after epoch {epoch + 1}"
                self.model.stop_training = True
                return
            for name, values in self.seen.items():
                values.append(float(logs[f"val_{name}"]))
            report(epoch + 1, epochs)
            if (epoch + 1) % max(1, epochs // 10) == 0:
                log.info(
                    "epoch %d of at most %d: loss %.4f, accuracy %s",
                    epoch + 1, epochs, self.seen["loss"][-1], f"{self.seen['accuracy'][-1]:.2%}",
                )  # fmt: skip
            if self.seen["accuracy"][-1] >= 1.0:
                self.model.stop_training = True

    return UntilKnown()


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
