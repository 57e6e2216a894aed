"""The table of a recipe that states many experiments: what is searched, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cnnboost.recipe.tables import Table, Whole


class Space(Table):
    """Values that a search tries for one key: some choices, or a range.

    Attributes
    ----------
    choices : list
        Each of them is tried by a grid.
    low, high : int or float
        Both ends belong to it; whole numbers where both are.
    step : int or float or None
        Distance of the values.
    log : bool
        Even in the logarithm; not with a step.
    """

    choices: tuple[Any, ...] | None = None
    low: int | float | None = None
    high: int | float | None = None
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
        return self


class Search(Table):
    """`[search]`: which keys are searched, and how; see `cnnboost.search`.

    Attributes
    ----------
    space : table of str to table
        By key of the recipe, in quotes: `"boost.max_depth" = { choices = [4, 6, 8] }`.
    sampler : {"grid", "random", "tpe"}
        A grid tries every combination of choices.
    trials : int
        Trials in all; a grid may need fewer.
    target : str
        What is judged: `cnn`, or the layer of a head.
    metric : {"accuracy", "macro_f1", "log_loss"}
    fraction : float
        Share of the train images on which trials are judged; they are fitted on the rest.
    seed : int
    """

    space: dict[str, Space] = Field(default_factory=dict)
    sampler: Literal["grid", "random", "tpe"] = "tpe"
    trials: Whole = 20
    target: str = "cnn"
    metric: Literal["accuracy", "macro_f1", "log_loss"] = "accuracy"
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: int = 0
