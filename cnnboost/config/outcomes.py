"""The tables of a recipe that state what is done with what was made: scores, comparison, export, latency."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from cnnboost.config.limits import shown
from cnnboost.config.published import Published
from cnnboost.config.tables import Plain, Seed, Table, Whole

_MOST_IMAGES = 1 << 20


class Evaluate(Table):
    """`[evaluate]`: what is scored."""

    split: Literal["test", "validation"] | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    seed: Seed = 0
    published: Published | None = None

    @property
    def intervals(self) -> dict[str, Any]:
        """How intervals are made, as the functions of `cnnboost.metrics` take it."""
        return {"confidence": self.confidence, "n_resamples": self.resamples, "seed": self.seed}

    @field_validator("published", mode="before")
    @classmethod
    def _none(cls, given: Any) -> Any:
        # TOML has no null, and other images have nothing published: --set evaluate.published=false.
        return None if given is False else given


#: Classifiers to compare with that need no import path.
RIVALS = (
    "vector_scaling", "logistic_regression", "linear_svm", "nearest_neighbors", "hist_gradient_boosting",
    "lightgbm",
)  # fmt: skip


class Head(Table):
    """A classifier of `[compare] heads`: its import path, its options, and what it is called."""

    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")]
    options: dict[str, Plain] = Field(default_factory=dict)
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9.,()=+ -]{1,60}$")] | None = None
    linear: bool = False


class Compare(Table):
    """`[compare]`: how CNN, hybrid in every mode and other heads are compared; no `heads`: all installed.

    `rows`: also with heads that are fitted on so many images each.
    """

    modes: tuple[Literal["plain", "residual", "blend"], ...] = ("plain", "residual", "blend")
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    networks: Annotated[int, Field(ge=1, le=100)] = 1
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    heads: tuple[Head, ...] | None = None
    rows: tuple[Whole, ...] = ()
    seed: Seed = 0

    @field_validator("heads", mode="before")
    @classmethod
    def _named(cls, heads: Any) -> Any:
        if heads is None:
            return None
        if not isinstance(heads, (list, tuple)):
            raise ValueError(f"give a list, e.g. [{RIVALS[1]!r}]")
        return [{"path": head} if isinstance(head, str) else head for head in heads]

    @field_validator("heads")
    @classmethod
    def _apart(cls, heads: tuple[Head, ...] | None) -> tuple[Head, ...] | None:
        names = [head.name or head.path for head in heads or ()]
        taken = ["softmax", "calibrated", "plain", "residual", "blend"]
        twice = next((name for i, name in enumerate(names) if name in [*taken, *names[:i]]), None)
        if twice is not None:
            raise ValueError(f"two rows would be called {twice!r}; give one of them another name")
        return heads


class Export(Table):
    """`[export]`: what goes into the bundle beside the exact graphs, and what its images show.

    `wants = "face"` says that they are cropped faces, so that `predict` looks for these in photographs.
    """

    int8: bool = False
    wants: Literal["face"] | None = None


class Bench(Table):
    """`[bench]`: how latency is measured."""

    batches: tuple[int | Literal["all"], ...] = (1, 8, 64, 512, "all")
    repeats: Whole = 5
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 0.5
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None

    @field_validator("batches", mode="before")
    @classmethod
    def _sizes(cls, batches: Any) -> Any:
        # Said here once: of a union, every member would complain in turn.
        if not isinstance(batches, (list, tuple)) or not batches:
            raise ValueError('give a list of batch sizes, e.g. [1, 64, "all"]')
        for size in batches:
            if size != "all" and (type(size) is not int or not 1 <= size <= _MOST_IMAGES):
                raise ValueError(
                    f"{shown(size)} is not a batch size; give numbers of images from 1 to {_MOST_IMAGES:,}, "
                    "or 'all'"
                )
        return batches
