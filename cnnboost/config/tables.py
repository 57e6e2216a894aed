"""The tables of a recipe that state what is made: images, network, cut, head, hybrid; and what is searched.

The estimators check their parameters with the same tables, and a search its values: a new option is a field
here and a parameter of its estimator.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from cnnboost.config.limits import SEED, plain


class Table(BaseModel):
    """A table of a recipe: frozen, and with no key that is not stated here."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


Fraction = Annotated[float, Field(ge=0, lt=1)]
Whole = Annotated[int, Field(ge=1, le=100_000)]
Share = Annotated[float, Field(gt=0, lt=1)]
Penalty = Annotated[float, Field(ge=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=SEED)]
Pixels = Annotated[int, Field(ge=1, le=10_000)]
#: Values of any kind, of a sensible size.
Plain = Annotated[Any, AfterValidator(plain)]
#: A path, or a name that becomes a part of one.
PathText = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class Data(Table):
    """`[data]`: which images, and what is made of them."""

    source: PathText | None = None
    size: Pixels | tuple[Pixels, Pixels] | None = None
    channels: Literal[1, 3] | None = None
    classes: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    binary: str | None = None
    validation_fraction: Fraction = 0.1
    seed: Seed = 0


class Cnn(Table):
    """`[cnn]`: the network and its training; keys as the parameters of `CNNClassifier`."""

    architecture: str = "digits"
    options: dict[str, Plain] = Field(default_factory=dict)
    epochs: Whole = 50
    batch_size: Annotated[int, Field(ge=1, le=1 << 20)] = 64
    optimizer: str = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=10**9)] | None = 1e-3
    momentum: Fraction | None = None
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0, le=100)] | None = None
    decay: Annotated[float, Field(ge=0, le=100)] = 0.0
    schedule: str = "constant"
    step_epochs: Whole | None = None
    step_factor: Share = 0.1
    warmup: Fraction | None = None
    early_stopping: Annotated[int, Field(ge=0, le=100_000)] | None = None
    reduce_lr: Annotated[int, Field(ge=0, le=100_000)] | None = None
    reduce_lr_factor: Share = 0.5
    min_learning_rate: Penalty = 1e-7
    monitor: str | None = None
    loss: str = "crossentropy"
    focal_gamma: Annotated[float, Field(ge=0, le=100)] = 2.0
    label_smoothing: Fraction = 0.0
    augment: dict[str, float] | None = None
    balance: bool = False
    mixup: Annotated[float, Field(ge=0, le=1000)] = 0.0
    ema: Share | None = None
    progressive_resizing: tuple[tuple[Pixels, Share], ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    steps_per_execution: Whole = 1
    validation_freq: Whole = 1
    teacher: PathText | None = None
    teacher_weight: Annotated[float, Field(ge=0, le=1)] = 0.7
    teacher_temperature: Annotated[float, Field(ge=1e-3, le=10_000)] = 3.0
    class_weight: Literal["balanced"] | dict[str, Penalty] | None = None
    validation_fraction: Fraction = 0.1
    seed: Seed = 0

    @field_validator("augment", "teacher", "class_weight", mode="before")
    @classmethod
    def _none(cls, given: Any) -> Any:
        # TOML has no null, and a search wants "no augmentation" among its choices, or no teacher or weights.
        return None if given is False else given

    @field_validator("progressive_resizing")
    @classmethod
    def _sizes(cls, stages: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
        sizes = [size for size, _ in stages]
        if sizes != sorted(set(sizes)):
            raise ValueError("the sizes must grow")
        total = math.fsum(share for _, share in stages)
        # Shares that come so close to 1 were meant to: 0.7, 0.2 and 0.1 add up to a little less.
        if total >= 1 - 1e-9:
            raise ValueError(
                f"the shares of the epochs come to {total:.4g}; they must come to less than 1, so that the "
                "last epochs see the images as they are"
            )
        return stages


class CutTable(Table):
    """`[cut]`: where the CNN is cut."""

    layers: tuple[str, ...] = ("flatten", "fc1", "fc2", "output")
    layer: str = "fc1"

    @model_validator(mode="after")
    def _some(self) -> CutTable:
        if not self.layers:
            raise ValueError("name at least one layer")
        return self


class Boost(Table):
    """`[boost]`: the head; keys as the parameters of `BoostClassifier`."""

    n_estimators: Whole = 100
    max_depth: Annotated[int, Field(ge=0, le=64)] = 6
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.3
    min_child_weight: Penalty = 1.0
    gamma: Penalty = 0.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = 1.0
    reg_lambda: Penalty = 1.0
    reg_alpha: Penalty = 0.0
    max_bin: Annotated[int, Field(ge=2, le=1 << 16)] = 256
    class_weight: Literal["balanced"] | dict[str, Penalty] | None = None
    early_stopping_rounds: Whole | None = None
    validation_fraction: Fraction = 0.1
    device: str = "auto"
    seed: Seed = 0
    xgb_params: dict[str, Plain] = Field(default_factory=dict)


class Hybrid(Table):
    """`[hybrid]`: the modes `residual` and `blend`, in which trees improve on the CNN's own softmax.

    `plain` is what `[boost]` says at one layer, whatever is set here; `compare` takes the images, views and
    features from here for all modes. `folds` with `layers` makes a bagged hybrid: a network for each fold,
    with a head of its own.
    """

    mode: Literal["plain", "residual", "blend"] = "plain"
    layers: tuple[str, ...] = ()
    views: Annotated[int, Field(ge=1, le=1000)] = 1
    augment: dict[str, float] | None = None
    fit_on: Literal["train", "held-out", "both"] = "train"
    holdout: Fraction = 0.0
    folds: Annotated[int, Field(ge=0, le=1000)] = 0
    networks: Annotated[int, Field(ge=1, le=100)] = 1
    tta: Literal["none", "flip", "shifts", "ten-crop"] = "none"
    norm: bool = False
    boost: dict[str, Plain] = Field(default_factory=dict)

    @field_validator("boost")
    @classmethod
    def _known(cls, boost: dict[str, Any]) -> dict[str, Any]:
        unknown = [key for key in boost if key not in Boost.model_fields]
        if unknown:
            raise ValueError(
                f"unknown key {unknown[0]!r} of [boost]; valid keys: {', '.join(Boost.model_fields)}"
            )
        Boost.model_validate(boost)
        return boost

    @model_validator(mode="after")
    def _enough(self) -> Hybrid:
        if self.views > 2 and self.augment is None:
            raise ValueError("views above 2, the image and its mirror image, need augment")
        if self.folds == 1:
            raise ValueError("folds=1 leaves no image to train on; give 2 or more, or 0 for none")
        several = [name for name in ("holdout", "folds") if getattr(self, name)]
        if self.networks > 1:
            several.append("networks")
        if len(several) > 1:
            raise ValueError(f"{' and '.join(several)} each say which CNNs there are; choose one")
        if self.bagged and self.fit_on == "train":
            raise ValueError(
                f"folds={self.folds} with layers {', '.join(self.layers)} fits a head for each network, on "
                "images that this was not trained on: give fit_on='held-out' for those, or fit_on='both' for "
                "those and the images of validation"
            )
        if self.fit_on == "both" and not self.bagged:
            raise ValueError(
                "fit_on='both', the images held out and those of validation, is for heads of folds: give "
                "folds and the layers of their features, or another fit_on"
            )
        if self.folds and not self.bagged and (self.views > 1 or self.norm):
            raise ValueError(
                "folds without layers fits one head on the class probabilities of all networks, which has "
                "neither views nor norm: leave them out, or name layers, for a head of each network"
            )
        return self

    @property
    def bagged(self) -> bool:
        """Whether each network of the folds has a head of its own, on its own features."""
        return bool(self.folds) and self.layers not in ((), ("output",))


#: Of a study; it becomes part of file names.
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)]
_Number = Annotated[int | float, AfterValidator(plain)]


class Space(Table):
    """Values that a search tries for one key: some choices, or a range."""

    choices: tuple[Plain, ...] | None = None
    low: _Number | None = None
    high: _Number | None = None
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Space:
        is_range = self.low is not None and self.high is not None
        if bool(self.choices) == is_range:
            raise ValueError("give choices = [...], or low and high")
        if is_range and not self.low < self.high:  # type: ignore[operator]
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        if self.log and (self.step is not None or not is_range or self.low <= 0):  # type: ignore[operator]
            raise ValueError("log goes with low and high above 0, and without a step")
        seen = set()
        for choice in self.choices or ():
            # As JSON text: Python takes 1, 1.0 and true for the same.
            text = json.dumps(choice, sort_keys=True, default=str)
            if text in seen:
                raise ValueError(f"the choice {choice!r} is listed twice")
            seen.add(text)
        return self


class Search(Table):
    """`[search]` and each `[studies.NAME]`: which keys are searched, and how; see `cnnboost.search`."""

    title: str = ""
    space: dict[str, Space] = Field(default_factory=dict)
    set: dict[str, Plain] = Field(default_factory=dict)
    sampler: Literal["grid", "random", "tpe"] = "tpe"
    trials: Whole = 20
    stages: Whole = 1
    target: str = "cnn"
    metric: Literal["accuracy", "macro_f1", "log_loss"] = "accuracy"
    part: Annotated[float, Field(gt=0, le=1)] = 1.0
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Seed = 0

    @model_validator(mode="after")
    def _no_contradiction(self) -> Search:
        if self.stages > 1 and self.sampler != "random":
            raise ValueError(f"stages = {self.stages} goes with sampler = 'random', not {self.sampler!r}")
        if self.stages > self.trials:
            raise ValueError(f"stages = {self.stages} needs as many trials, got trials = {self.trials}")
        both = sorted(self.space.keys() & self.set.keys())
        if both:
            raise ValueError(f"{both[0]!r} is in both space and set; a key is either searched or set")
        return self
