"""Can this network learn at all? It is trained on a few images until it knows them by heart.

A network that fits and is fed rightly does so quickly, whatever it is worth on other images. One that does
not has a fault that no amount of data mends.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cnnboost.cnn import CNNClassifier
from cnnboost.errors import ParameterError, TrainingError
from cnnboost.files import write_json
from cnnboost.images import Split
from cnnboost.stages.diagnostics import symptoms, symptoms_of_failure
from cnnboost.stages.job import Job
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.provenance import machine, versions
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
        "recipe_facts": job.recipe.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions(),
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
