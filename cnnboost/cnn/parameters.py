"""The parameters of `CNNClassifier`, which describes each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from cnnboost.cnn.checkpoint import Checkpoint, run_digest
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.teacher import teacher_digest
from cnnboost.images.views import check_tta


@dataclass(eq=False, repr=False)
class CNNParameters(BaseEstimator):
    """Takes the parameters of `CNNClassifier` as they are, and checks them when they are used."""

    model: str | os.PathLike[str] | Callable[..., Any] = "digits"
    _: KW_ONLY
    model_options: Mapping[str, Any] | None = None
    epochs: int = 50
    batch_size: int = 64
    optimizer: Any = "adam"
    learning_rate: float | None = 1e-3
    momentum: float | None = None
    nesterov: bool = False
    weight_decay: float | None = None
    decay: float = 0.0
    schedule: str = "constant"
    step_epochs: int | None = None
    step_factor: float = 0.1
    warmup: float | None = None
    early_stopping: int | None = None
    reduce_lr: int | None = None
    reduce_lr_factor: float = 0.5
    min_learning_rate: float = 1e-7
    monitor: str | None = None
    loss: str = "crossentropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    augment: Mapping[str, Any] | None = None
    balance: bool = False
    mixup: float = 0.0
    ema: float | None = None
    progressive_resizing: Sequence[tuple[int, float]] = ()
    precision: str = "float32"
    steps_per_execution: int = 1
    teacher: str | os.PathLike[str] | None = None
    teacher_weight: float = 0.7
    teacher_temperature: float = 3.0
    class_weight: Any = None
    validation_fraction: float = 0.0
    classes: Sequence[Any] | None = None
    image_shape: tuple[int, ...] | None = None
    pixels: str | None = None
    tta: str = "none"
    callbacks: Sequence[Any] | None = None
    checkpoint: str | os.PathLike[str] | None = None
    random_state: int = 0

    def _options(self) -> TrainingOptions:
        check_tta(self.tta)
        return TrainingOptions.of(self.get_params(deep=False))

    def _checkpoint(
        self,
        options: TrainingOptions,
        model: Any,
        X: np.ndarray,
        codes: np.ndarray,
        sample_weight: np.ndarray | None,
        validation: tuple[np.ndarray, np.ndarray] | None,
    ) -> Checkpoint | None:
        """Return the checkpoint of exactly this run: its data, its network, its parameters.

        Weights and validation images are those that `fit` was given; what follows from the parameters need
        not be told twice.
        """
        if self.checkpoint is None:
            return None
        # More epochs of the same run continue it, unless they change its epochs so far; the network itself
        # says what `model` was.
        apart = {"callbacks", "checkpoint", "model", "tta", *(() if options.planned else ("epochs",))}
        if self.teacher is None:
            apart |= {"teacher", "teacher_weight", "teacher_temperature"}
        parameters = {name: value for name, value in self.get_params().items() if name not in apart}
        if self.teacher is not None:
            parameters["teacher"] = teacher_digest(self.teacher)
        return Checkpoint(self.checkpoint, run_digest(model, X, codes, parameters, sample_weight, validation))
