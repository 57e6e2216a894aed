"""What a training minimises: Keras' losses, and the targets that each of them takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from cnnboost.cnn.distillation import distilled
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError


def one_hot(options: TrainingOptions, kind: str) -> bool:
    """Whether the targets are a row for each image, with a column for each class."""
    return kind != "sigmoid" and bool(
        options.loss == "focal" or options.label_smoothing or options.mixup or options.teacher is not None
    )


def targets(
    options: TrainingOptions, kind: str, codes: np.ndarray, width: int, soft_targets: np.ndarray | None = None
) -> np.ndarray:
    """Bring labels into the form that the loss takes."""
    if kind == "sigmoid" and options.mixup:
        raise ParameterError(f"mixup={options.mixup} needs a model with one output for each class")
    if kind == "sigmoid" and options.teacher is not None:
        raise ParameterError(f"teacher={options.teacher!r} needs a model with one output for each class")
    if not one_hot(options, kind):
        return codes
    labels = np.eye(width, dtype=np.float32)[codes]
    if options.teacher is None:
        return labels
    return np.concatenate([labels, _softened(soft_targets, labels, options.teacher_temperature)], axis=1)


def _softened(soft_targets: np.ndarray | None, labels: np.ndarray, temperature: float) -> np.ndarray:
    if soft_targets is None:
        return np.zeros_like(labels)
    return np.asarray(softmax(soft_targets / np.float32(temperature), axis=1), dtype=np.float32)


def loss_and_accuracy(options: TrainingOptions, kind: str) -> tuple[Any, Any]:
    """Build the loss and the metric of a training.

    The focal loss has no weight of its own for each class (Keras' `alpha`), so that `class_weight` means the
    same under both losses and `focal_gamma=0` is the cross-entropy.
    """
    loss, accuracy = _of_labels(options, kind)
    return (loss, accuracy) if options.teacher is None else distilled(loss, accuracy, options, kind)


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
