"""What a training minimises: Keras' losses, and the targets that each of them takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError


def one_hot(options: TrainingOptions, kind: str) -> bool:
    """Whether the targets are a row for each image, with a column for each class.

    Parameters
    ----------
    options : TrainingOptions
    kind : {"softmax", "logits", "sigmoid"}
        What the model's output is.

    Returns
    -------
    bool
    """
    return kind != "sigmoid" and bool(options.loss == "focal" or options.label_smoothing or options.mixup)


def targets(options: TrainingOptions, kind: str, codes: np.ndarray, width: int) -> np.ndarray:
    """Bring labels into the form that the loss takes.

    Parameters
    ----------
    options : TrainingOptions
    kind : {"softmax", "logits", "sigmoid"}
    codes : ndarray of int, (n,)
        Column of the right class.
    width : int
        Columns of the model's output.

    Returns
    -------
    ndarray
        `codes`, or float32 (n, width).

    Raises
    ------
    ParameterError
        If the model has one output for two classes, and the options mix images.
    """
    if kind == "sigmoid" and options.mixup:
        raise ParameterError(f"mixup={options.mixup} needs a model with one output for each class")
    return np.eye(width, dtype=np.float32)[codes] if one_hot(options, kind) else codes


def loss_and_accuracy(options: TrainingOptions, kind: str) -> tuple[Any, Any]:
    """Build the loss and the metric of a training.

    The focal loss has no weight of its own for each class (Keras' `alpha`), so that `class_weight` means the
    same under both losses and `focal_gamma=0` is the cross-entropy.

    Parameters
    ----------
    options : TrainingOptions
    kind : {"softmax", "logits", "sigmoid"}

    Returns
    -------
    loss : keras.losses.Loss
    accuracy : keras.metrics.Metric

    References
    ----------
    Lin et al., 2017, "Focal Loss for Dense Object Detection", ICCV.
    """
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
