"""Learning from a teacher: the loss of Hinton, Vinyals and Dean, around whatever loss the labels have.

Their loss follows the teacher's softened probabilities as well as the labels:

    (1 - w) * loss(labels, student) + w * T^2 * KL(teacher_T || student_T)

where both log-probabilities are divided by T and brought back to a sum of 1; the factor T^2 keeps the weight
of the teacher's part when T changes. Labels and teacher travel in one array, side by side, so that whatever
orders, balances or blends targets does it to both.
"""

from __future__ import annotations

import math
from typing import Any

from cnnboost.cnn.options import TrainingOptions

_FLOOR = math.exp(-30)
"""Lowest probability whose logarithm is taken; it is where the files of `cnnboost teach` end too."""


def distilled(loss: Any, accuracy: Any, options: TrainingOptions, kind: str) -> tuple[Any, Any]:
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
