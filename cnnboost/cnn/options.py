"""How a CNN is trained: every choice in one place, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from cnnboost.config.limits import CNN, SEED, shown
from cnnboost.config.sizes import check_sizes
from cnnboost.errors import ParameterError
from cnnboost.images.augment import Augmentation

SCHEDULES = ("constant", "step", "cosine", "one-cycle")
LOSSES = ("crossentropy", "focal")
PRECISIONS = ("float32", "bfloat16")

#: Whole numbers and their lowest value; the highest are in `limits`. None is allowed where it is the default.
_WHOLE = {
    "epochs": 0,
    "batch_size": 1,
    "early_stopping": 0,
    "reduce_lr": 0,
    "step_epochs": 1,
    "steps_per_execution": 1,
}
#: Other numbers: lowest and highest value, and whether the lowest belongs to them; a highest of 1 does not.
_NUMBERS: dict[str, tuple[float, float, bool]] = {
    "learning_rate": (0, CNN["learning_rate"], False),
    "momentum": (0, 1, True),
    "weight_decay": (0, CNN["weight_decay"], True),
    "decay": (0, CNN["decay"], True),
    "step_factor": (0, 1, False),
    "warmup": (0, 1, True),
    "reduce_lr_factor": (0, 1, False),
    "min_learning_rate": (0, CNN["min_learning_rate"], True),
    "focal_gamma": (0, CNN["focal_gamma"], True),
    "label_smoothing": (0, 1, True),
    "mixup": (0, CNN["mixup"], True),
    "ema": (0, 1, False),
    "teacher_temperature": (1e-3, CNN["teacher_temperature"], True),
}
_OPTIONAL = frozenset(
    {
        "early_stopping",
        "reduce_lr",
        "step_epochs",
        "learning_rate",
        "momentum",
        "weight_decay",
        "warmup",
        "ema",
    }
)


@dataclass(frozen=True)
class TrainingOptions:
    """How a CNN is trained; `CNNClassifier` says what each of them does."""

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
    augment: Augmentation | Mapping[str, Any] | None = None
    balance: bool = False
    mixup: float = 0.0
    ema: float | None = None
    progressive_resizing: Sequence[tuple[int, float]] = ()
    precision: str = "float32"
    steps_per_execution: int = 1
    teacher: str | os.PathLike[str] | None = None
    teacher_weight: float = 0.7
    teacher_temperature: float = 3.0
    seed: int = 0

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> TrainingOptions:
        """Pick the options out of an estimator's parameters."""
        names = [field.name for field in fields(cls) if field.name != "seed"]
        return cls(**{name: parameters[name] for name in names}, seed=parameters["random_state"])

    def __post_init__(self) -> None:
        for name, low in _WHOLE.items():
            value = getattr(self, name)
            if not (value is None and name in _OPTIONAL):
                _check_whole(name, value, low, CNN[name])
        for name, limits in _NUMBERS.items():
            value = getattr(self, name)
            if not (value is None and name in _OPTIONAL):
                _check_number(name, value, *limits)
        _check_whole("random_state", self.seed, 0, SEED)
        for name in ("nesterov", "balance"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(f"{name}={getattr(self, name)!r} must be true or false")
        _check_name("schedule", self.schedule, SCHEDULES)
        _check_name("loss", self.loss, LOSSES)
        _check_name("precision", self.precision, PRECISIONS)
        self._check_sizes()
        self._check_teacher()
        self._check_rates()
        self._check_monitor()
        if self.augment is not None:
            object.__setattr__(self, "augment", Augmentation.of(self.augment))

    @property
    def planned(self) -> bool:
        """Whether the number of epochs decides what happens in each of them."""
        return self.schedule in ("cosine", "one-cycle") or bool(self.progressive_resizing)

    def _check_rates(self) -> None:
        if self.schedule == "step" and self.step_epochs is None:
            raise ParameterError("schedule='step' needs step_epochs, the number of epochs between two steps")
        if self.schedule != "step" and self.step_epochs is not None:
            raise ParameterError(f"step_epochs={self.step_epochs} belongs to schedule='step'")
        if self.schedule not in ("cosine", "one-cycle") and self.warmup is not None:
            raise ParameterError(f"warmup={self.warmup} belongs to schedule='cosine' or 'one-cycle'")
        if self.decay and self.schedule != "constant":
            raise ParameterError(
                f"decay={self.decay} and schedule={self.schedule!r} both lower the learning rate; choose one"
            )
        if self.reduce_lr is not None and (self.decay or self.schedule != "constant"):
            other = f"decay={self.decay}" if self.decay else f"schedule={self.schedule!r}"
            raise ParameterError(
                f"reduce_lr={self.reduce_lr} and {other} both set the learning rate; choose one"
            )

    def _check_sizes(self) -> None:
        asked = self.progressive_resizing
        try:
            stages = tuple((size, share) for size, share in asked or ())
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"progressive_resizing={asked!r} must be pairs of an image size in pixels and its share of "
                "the epochs, e.g. [[32, 0.5], [40, 0.25]]"
            ) from error
        for size, share in stages:
            _check_whole("progressive_resizing: size", size, 1, CNN["epochs"])
            _check_number("progressive_resizing: share", share, 0, 1, False)
        if stages:
            try:
                check_sizes(stages)
            except ValueError as error:
                raise ParameterError(f"progressive_resizing={asked!r}: {error}") from None
        object.__setattr__(self, "progressive_resizing", stages)

    def _check_teacher(self) -> None:
        if self.teacher is not None and not isinstance(self.teacher, str | os.PathLike):
            raise ParameterError(
                f"teacher={self.teacher!r} must be the path of a file that `cnnboost teach` wrote"
            )
        weight = self.teacher_weight
        if not isinstance(weight, Real) or isinstance(weight, bool) or not 0 <= weight <= 1:
            raise ParameterError(f"teacher_weight={weight!r} must be a number in [0, 1]")

    def _check_monitor(self) -> None:
        if self.monitor is not None:
            _check_name("monitor", self.monitor, ("loss", "accuracy", "val_loss", "val_accuracy"))


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or not low <= int(value) <= high:
        raise ParameterError(f"{name}={shown(value)} must be a whole number from {low} to {high:,}")


def _check_number(name: str, value: Any, low: float, high: float, low_too: bool) -> None:
    """Refuse what is not a number between two others; a highest value of 1 does not belong to them."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if number and (low < value < high or (low_too and value == low) or (value == high != 1)):
        return
    start, end = "[" if low_too else "(", ")" if high == 1 else "]"
    raise ParameterError(f"{name}={shown(value)} must be a number in {start}{low:g}, {high:g}{end}")


def _check_name(parameter: str, value: Any, there: tuple[str, ...]) -> None:
    if value not in there:
        raise ParameterError(f"{parameter}={value!r} is unknown; there are: {', '.join(there)}")
