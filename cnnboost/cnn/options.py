"""How a CNN is trained: every choice in one place, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from cnnboost.config.limits import explained
from cnnboost.config.tables import Cnn, Fraction, Seed
from cnnboost.errors import ParameterError
from cnnboost.images.augment import Augmentation


class TrainingOptions(Cnn):
    """How a CNN is trained; `CNNClassifier` says what each of them does.

    The limits are those of a recipe's `[cnn]`; a parameter may be more: an optimiser that was built, a path,
    0 epochs.
    """

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True, populate_by_name=True)

    epochs: Annotated[int, Field(ge=0, le=100_000)] = 50
    optimizer: Any = "adam"
    schedule: Literal["constant", "step", "cosine", "one-cycle"] = "constant"
    monitor: Literal["loss", "accuracy", "val_loss", "val_accuracy"] | None = None
    loss: Literal["crossentropy", "focal"] = "crossentropy"
    augment: Augmentation | None = None  # type: ignore[assignment]
    teacher: str | os.PathLike[str] | None = None  # type: ignore[assignment]
    class_weight: Any = None
    validation_fraction: Fraction = 0.0
    seed: Annotated[Seed, Field(alias="random_state")] = 0

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise ParameterError(explained(error)) from None

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> TrainingOptions:
        """Pick the options out of an estimator's parameters."""
        names = {*cls.model_fields, "random_state"}
        return cls(**{name: value for name, value in parameters.items() if name in names})

    @property
    def planned(self) -> bool:
        """Whether the number of epochs decides what happens in each of them."""
        return self.schedule in ("cosine", "one-cycle") or bool(self.progressive_resizing)

    @model_validator(mode="before")
    @classmethod
    def _python(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Turn numbers of NumPy, such as a search may give, into Python's."""
        return {
            name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()
        }

    @field_validator("augment", mode="before")
    @classmethod
    def _augmentation(cls, given: Any) -> Any:
        return None if given is None or given is False else Augmentation.of(given)

    @field_validator("progressive_resizing", mode="before")
    @classmethod
    def _pairs(cls, given: Any) -> Any:
        try:
            return tuple((size, share) for size, share in given or ())
        except (TypeError, ValueError):
            raise ValueError(
                "give pairs of an image size in pixels and its share of the epochs, "
                "e.g. [[32, 0.5], [40, 0.25]]"
            ) from None

    @model_validator(mode="after")
    def _together(self) -> TrainingOptions:
        if self.schedule == "step" and self.step_epochs is None:
            raise ValueError("schedule='step' needs step_epochs, the number of epochs between two steps")
        if self.schedule != "step" and self.step_epochs is not None:
            raise ValueError(f"step_epochs={self.step_epochs} belongs to schedule='step'")
        if self.schedule not in ("cosine", "one-cycle") and self.warmup is not None:
            raise ValueError(f"warmup={self.warmup} belongs to schedule='cosine' or 'one-cycle'")
        setters = [f"decay={self.decay}"] if self.decay else []
        if self.schedule != "constant":
            setters.append(f"schedule={self.schedule!r}")
        if self.reduce_lr is not None:
            setters.append(f"reduce_lr={self.reduce_lr}")
        if len(setters) > 1:
            raise ValueError(f"{' and '.join(setters)} each set the learning rate; choose one")
        if self.balance and isinstance(self.class_weight, str):
            raise ValueError(
                f"balance=True and class_weight={self.class_weight!r} both even the classes out; choose one"
            )
        return self
