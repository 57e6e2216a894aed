"""`[evaluate.published]`: what a study prints of the same system, element by element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cnnboost.config.tables import Plain, Search, Table

POSITIVE_SCORES = ("precision", "recall", "f1", "best_f1", "average_precision", "auc")
"""Scores of the positive one of two classes; `best_f1` is at the threshold where F1 is highest."""
PUBLISHED_SCORES = ("macro_f1", "average_class_accuracy", *POSITIVE_SCORES)
"""What `scores` of `[evaluate.published]` may name."""

_OF_ALL = (
    *("accuracy", "train_accuracy", "log_loss", "macro_precision", "macro_recall", "macro_f1"),
    *("average_class_accuracy", "best_f1"),
)
_OF_A_CLASS = ("accuracy", "precision", "recall", "f1", "auc")
_OF_RUNS = ("max", "min", "std", "variance", "mean", "standard_error")
COLUMNS = {
    "scores": _OF_ALL,
    "classes": _OF_A_CLASS,
    "thresholds": ("accuracy", "average_class_accuracy", "precision", "recall", "f1"),
    "repeats": _OF_RUNS,
    "sweep": ("accuracy", "log_loss", "macro_f1", "relative_gain", "std"),
    "latency": ("seconds",),
    "images": ("train", "validation", "test"),
    "settings": ("value",),
}
"""Kinds of elements whose cells have counterparts here, and the columns that each may have."""

ALL_ROWS = {"repeats": "accuracy", "images": "all", "sweep": "cnn"}
"""Names of rows that are not a class (`repeats`, `images`) and not the values of a trial (`sweep`)."""

Kind = Literal[
    "text",
    "scores",
    "classes",
    "confusion",
    "thresholds",
    "repeats",
    "sweep",
    "latency",
    "images",
    "settings",
]
Run = Literal["in full", "in part", "cannot be run here", "not a result"]
Cell = float | None


class Printed(Table):
    """`[[evaluate.published.printed]]`: a table, a figure or a sentence, and what of it is run here.

    The names of the rows say what a cell is of: `scores`, the CNN (`cnn`) or a layer; `classes` and
    `confusion` (true classes, the columns are predicted ones), a class; `images`, a class or `all`;
    `thresholds`, a threshold; `repeats`, a class or `accuracy`; `sweep`, a trial of `study`, by the values of
    `keys` (of its only key, unless that is given), or the CNN below it (`cnn`); `latency`, a path of
    `cnnboost bench`; `settings`, a key of the recipe. `values` states the values of rows of a sweep that have
    a better name. Rows of the kind `text` have no counterpart. A cell that is nan is empty.

    `under` states the settings of the element where they are not the recipe's: own scores are shown beside it
    only if they were made with these settings.
    """

    place: str
    title: str
    kind: Kind = "text"
    run: Run = "in full"
    why: str = ""
    where: str = ""
    classifier: str = "cnn"
    score: Literal["precision", "recall", "f1"] | None = None
    study: str | None = None
    keys: tuple[str, ...] = ()
    values: dict[str, tuple[Plain, ...]] = Field(default_factory=dict)
    under: dict[str, Plain] = Field(default_factory=dict)
    columns: tuple[str, ...] = ()
    rows: dict[str, tuple[Cell, ...]] = Field(default_factory=dict)

    @field_validator("rows", mode="before")
    @classmethod
    def _empty_cells(cls, rows: Any) -> Any:
        # TOML has no null.
        if not isinstance(rows, Mapping):
            return rows
        return {name: _without_nan(cells) for name, cells in rows.items()}

    @model_validator(mode="after")
    def _fits(self) -> Printed:
        if self.run in ("in part", "cannot be run here") and not self.why:
            raise ValueError(f"{self.place}: run = {self.run!r} needs a reason; give why")
        if (self.kind == "sweep") != (self.study is not None):
            raise ValueError(f"{self.place}: a sweep names its study, and nothing else does")
        if self.kind in COLUMNS:
            unknown = [name for name in self.columns if name not in COLUMNS[self.kind]]
            if unknown:
                raise ValueError(
                    f"{self.place}: unknown column {unknown[0]!r} of {self.kind!r}; valid columns: "
                    f"{', '.join(COLUMNS[self.kind])}"
                )
        for name, cells in self.rows.items():
            if len(cells) != len(self.columns):
                raise ValueError(
                    f"{self.place}: row {name!r} has {len(cells)} cells, and there are {len(self.columns)} "
                    "columns"
                )
        nameless = [name for name in self.values if name not in self.rows]
        if nameless:
            raise ValueError(
                f"{self.place}: values name the row {nameless[0]!r}, which is not among its rows"
            )
        if self.kind == "thresholds":
            for name in self.rows:
                try:
                    float(name)
                except ValueError:
                    raise ValueError(
                        f"{self.place}: a row of thresholds is named by its threshold, got {name!r}"
                    ) from None
        return self

    def unknown_class(self, classes: tuple[str, ...]) -> str | None:
        """Return a class that the element names and the images do not have."""
        named: list[str] = []
        if self.kind in ("classes", "confusion", "repeats", "images"):
            named += [name for name in self.rows if name != ALL_ROWS.get(self.kind)]
        if self.kind == "confusion":
            named += self.columns
        return next((name for name in named if name not in classes), None)

    def values_of(self, row: str, study: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that a row of a sweep is of, by key; the study has its keys in any order."""
        keys = self.keys or tuple(study)
        if row in self.values:
            return dict(zip(keys, self.values[row], strict=True))
        return dict(zip(keys, [part.strip() for part in row.split(",")], strict=True))

    def check_study(self, studies: Mapping[str, Search]) -> None:
        """Refuse a sweep of a study, a key or a value that the recipe lacks."""
        if self.study is None:
            return
        if self.study not in studies:
            raise ValueError(
                f"{self.place}: the recipe has no study {self.study!r}; its studies: "
                f"{', '.join(studies) or 'none'}"
            )
        space = studies[self.study].space
        trials = [row for row in self.rows if row != ALL_ROWS["sweep"]]
        if not trials:
            return
        if set(self.keys or space) != set(space) or (not self.keys and len(space) > 1):
            raise ValueError(
                f"{self.place}: keys = {list(self.keys)} must name the keys of the study {self.study!r}: "
                f"{', '.join(space)}"
            )
        for row in trials:
            try:
                values = self.values_of(row, space)
            except ValueError:
                raise ValueError(
                    f"{self.place}: row {row!r} must give a value for each of {', '.join(self.keys or space)}"
                ) from None
            for key, value in values.items():
                choices = space[key].choices
                if choices is not None and not any(same_value(value, choice) for choice in choices):
                    raise ValueError(
                        f"{self.place}: row {row!r}: the study {self.study!r} does not try {key} = {value}"
                    )


def _without_nan(cells: Any) -> Any:
    if not isinstance(cells, Sequence) or isinstance(cells, str):
        return cells
    return [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells]


def same_value(stated: Any, tried: Any) -> bool:
    """Tell whether a stated value and one that was used are the same.

    Numbers may be stated as text, and None as False: TOML has no null.
    """
    if isinstance(stated, bool) or isinstance(tried, bool) or tried is None:
        return stated is tried or (stated is False and tried is None)
    if isinstance(tried, (int, float)):
        try:
            return math.isclose(float(stated), tried, rel_tol=1e-9)
        except (TypeError, ValueError):
            return False
    if isinstance(tried, (list, tuple)) and isinstance(stated, (list, tuple)):
        return list(stated) == list(tried)
    return bool(stated == tried)


Score = Annotated[float, Field(ge=0, le=1)]


class Published(Table):
    """`[evaluate.published]`: scores that others printed for the same system."""

    source: str
    cnn: Score | None = None
    layers: dict[str, Score] = Field(default_factory=dict)
    scores: dict[str, Score] = Field(default_factory=dict)
    printed: tuple[Printed, ...] = ()

    @field_validator("scores")
    @classmethod
    def _known(cls, scores: dict[str, float]) -> dict[str, float]:
        for name in scores:
            if name == "accuracy":
                raise ValueError("give the accuracy of the CNN in `cnn`, that of hybrids in `layers`")
            if name not in PUBLISHED_SCORES:
                raise ValueError(f"unknown score {name!r}; valid scores: {', '.join(PUBLISHED_SCORES)}")
        return scores
