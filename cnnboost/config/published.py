"""`[evaluate.published]`: what a study prints of the same system, element by element."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cnnboost.config.tables import Table

POSITIVE_SCORES = ("precision", "recall", "f1", "best_f1", "average_precision", "auc")
"""Scores of the positive one of two classes; `best_f1` is at the threshold where F1 is highest."""
PUBLISHED_SCORES = ("macro_f1", "average_class_accuracy", *POSITIVE_SCORES)
"""What `scores` of `[evaluate.published]` may name."""

_OF_ALL = ("accuracy", "log_loss", "macro_precision", "macro_recall", "macro_f1", "average_class_accuracy")
_OF_A_CLASS = ("accuracy", "precision", "recall", "f1", "auc")
_OF_RUNS = ("max", "min", "std", "variance", "mean")
COLUMNS = {
    "scores": _OF_ALL,
    "classes": _OF_A_CLASS,
    "thresholds": ("accuracy", "average_class_accuracy", "precision", "recall", "f1"),
    "repeats": _OF_RUNS,
    "sweep": ("accuracy", "log_loss", "macro_f1"),
    "latency": ("seconds",),
}
"""Kinds of elements whose cells have counterparts here, and the columns that each may have."""

Kind = Literal["text", "scores", "classes", "confusion", "thresholds", "repeats", "sweep", "latency"]
Run = Literal["in full", "in part", "cannot be run here"]


class Printed(Table):
    """`[[evaluate.published.printed]]`: a table, a figure or a sentence, and what of it is run here.

    The names of the rows say what a cell is of: `scores`, the CNN (`cnn`) or a layer; `classes`, `auc` and
    `confusion` (true classes, the columns are predicted ones), a class; `thresholds`, a threshold; `repeats`,
    a class or `accuracy`; `sweep`, the values of `keys` in the trials of `study`; `latency`, a path of
    `cnnboost bench`. Rows of the kind `text` have no counterpart.
    """

    place: str
    title: str
    kind: Literal["text", "scores", "classes", "confusion", "thresholds", "repeats", "sweep", "latency"] = (
        "text"
    )
    run: Run = "in full"
    why: str = ""
    where: str = ""
    classifier: str = "cnn"
    score: Literal["precision", "recall", "f1"] | None = None
    study: str | None = None
    columns: tuple[str, ...] = ()
    rows: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Printed:
        if self.run != "in full" and not self.why:
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
        return self

    def unknown_class(self, classes: tuple[str, ...]) -> str | None:
        """Return a class that the element names and the images do not have."""
        named: list[str] = []
        if self.kind in ("classes", "confusion", "repeats"):
            named += [name for name in self.rows if (self.kind, name) != ("repeats", "accuracy")]
        if self.kind == "confusion":
            named += self.columns
        return next((name for name in named if name not in classes), None)


Shared = Annotated[float, Field(ge=0, le=1)]


class Published(Table):
    """`[evaluate.published]`: scores that others printed for the same system."""

    source: str
    cnn: Shared | None = None
    layers: dict[str, Shared] = Field(default_factory=dict)
    scores: dict[str, Shared] = Field(default_factory=dict)
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
