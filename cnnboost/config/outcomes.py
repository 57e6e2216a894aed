"""The tables of a recipe that state what is done with what was made: scores, comparison, export, latency."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from cnnboost.config.limits import shown
from cnnboost.config.published import Published
from cnnboost.config.tables import Seed, Table, Whole

_MOST_IMAGES = 1 << 20


class Evaluate(Table):
    """`[evaluate]`: what is scored."""

    split: Literal["test", "validation"] | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    seed: Seed = 0
    published: Published | None = None

    @field_validator("published", mode="before")
    @classmethod
    def _none(cls, given: Any) -> Any:
        # TOML has no null, and other images have nothing published: --set evaluate.published=false.
        return None if given is False else given


class Compare(Table):
    """`[compare]`: how CNN and hybrid are compared in every mode."""

    modes: tuple[Literal["plain", "residual", "blend"], ...] = ("plain", "residual", "blend")
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    networks: Annotated[int, Field(ge=1, le=100)] = 1
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    seed: Seed = 0


class Export(Table):
    """`[export]`: what goes into the bundle beside the exact graphs."""

    int8: bool = False


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
