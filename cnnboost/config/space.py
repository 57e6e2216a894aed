"""The tables of a recipe that state many experiments: what is searched, and how."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cnnboost.config.limits import plain
from cnnboost.config.tables import Plain, Seed, Table, Whole

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
