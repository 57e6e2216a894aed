"""What a training minimises: Keras' losses, and the targets that each of them takes.

With a teacher, training follows its softened probabilities as well as the labels (Hinton, Vinyals and Dean):

    (1 - w) * loss(labels, student) + w * T^2 * KL(teacher_T || student_T)

where both log-probabilities are divided by T and brought back to a sum of 1; the factor T^2 keeps the weight
of the teacher's part when T changes. Labels and teacher travel in one array, side by side, so that whatever
orders, balances or blends targets does it to both.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import softmax

from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError

_FLOOR = math.exp(-30)
"""Lowest probability whose logarithm is taken; it is where the files of `cnnboost distill` end too."""


def one_hot(options: TrainingOptions, kind: str) -> bool:
    """Whether the targets are a row for each image, with a column for each class."""
    return kind != "sigmoid" and bool(
        options.loss == "focal" or options.label_smoothing or options.mixup or options.teacher is not None
    )


def targets(
    options: TrainingOptions, kind: str, codes: np.ndarray, width: int, soft_targets: np.ndarray | None = None
) -> np.ndarray:
    """Bring labels into the form that the loss takes."""
    for name in ("mixup", "teacher"):
        if kind == "sigmoid" and getattr(options, name):
            raise ParameterError(
                f"{name}={getattr(options, name)!r} needs a model with one output for each class"
            )
    if not one_hot(options, kind):
        return codes
    labels = np.eye(width, dtype=np.float32)[codes]
    if options.teacher is None:
        return labels
    if soft_targets is None:
        teacher = np.zeros_like(labels)
    else:
        temperature = np.float32(options.teacher_temperature)
        teacher = np.asarray(softmax(soft_targets / temperature, axis=1), dtype=np.float32)
    return np.concatenate([labels, teacher], axis=1)


def loss_and_accuracy(options: TrainingOptions, kind: str) -> tuple[Any, Any]:
    """Build the loss and the metric of a training.

    The focal loss has no weight of its own for each class (Keras' `alpha`), so that `class_weight` means the
    same under both losses and `focal_gamma=0` is the cross-entropy.
    """
    loss, accuracy = _of_labels(options, kind)
    return (loss, accuracy) if options.teacher is None else _distilled(loss, accuracy, options, kind)


def _of_labels(options: TrainingOptions, kind: str) -> tuple[Any, Any]:
    import keras

    losses, metrics = keras.losses, keras.metrics
    smoothing, gamma = float(options.label_smoothing), float(options.focal_gamma)
    focal, logits = options.loss == "focal", kind == "logits"
    if kind == "sigmoid":
        accuracy = metrics.BinaryAccuracy(name="accuracy")
        if focal:
            return losses.BinaryFocalCrossentropy(gamma=gamma, label_smoothing=smoothing), accuracy
        return losses.BinaryCrossentropy(label_smoothing=smoothing), accuracy
    if not one_hot(options, kind):
        accuracy = metrics.SparseCategoricalAccuracy(name="accuracy")
        return losses.SparseCategoricalCrossentropy(from_logits=logits), accuracy
    accuracy = metrics.CategoricalAccuracy(name="accuracy")
    if focal:
        loss = losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=gamma, from_logits=logits, label_smoothing=smoothing
        )
        return loss, accuracy
    return losses.CategoricalCrossentropy(from_logits=logits, label_smoothing=smoothing), accuracy


def _distilled(loss: Any, accuracy: Any, options: TrainingOptions, kind: str) -> tuple[Any, Any]:
    """Give a loss a teacher, and the metric the labels alone."""
    import keras

    ops = keras.ops
    weight, temperature = float(options.teacher_weight), float(options.teacher_temperature)

    def halves(targets: Any, output: Any) -> tuple[Any, Any]:
        targets = ops.cast(targets, "float32")
        return targets[:, : output.shape[-1]], targets[:, output.shape[-1] :]

    class Distilled(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            labels, teacher = halves(y_true, y_pred)
            output = ops.cast(y_pred, "float32")
            logs = output if kind == "logits" else ops.log(ops.maximum(output, _FLOOR))
            student = ops.log_softmax(logs / temperature, axis=-1)
            divergence = ops.sum(teacher * (ops.log(ops.maximum(teacher, _FLOOR)) - student), axis=-1)
            # Rows of images that are only scored have no teacher: all of their loss is that of the labels.
            share = weight * ops.sum(teacher, axis=-1)
            return (1 - share) * loss.call(labels, output) + weight * temperature**2 * divergence

    class OfLabels(type(accuracy)):  # type: ignore[misc]
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            return super().update_state(halves(y_true, y_pred)[0], y_pred, sample_weight)

    return Distilled(name="distilled"), OfLabels(name=accuracy.name)
