"""Findings: everything that is known about one recipe, as the commands wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cnnboost.errors import DataError
from cnnboost.report.mistakes import Mistake


class OtherImages(NamedTuple):
    """Scores on images that the recipe is not about."""

    name: str
    metrics: Mapping[str, Any]
    figures: Mapping[str, bytes] = {}


@dataclass(frozen=True)
class Findings:
    """Everything that is known about one recipe."""

    metrics: Mapping[str, Any]
    audit: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None
    repeats: Mapping[str, Any] | None = None
    figures: Mapping[str, bytes] = field(default_factory=dict)
    notes: str = ""
    mistakes: Sequence[Mistake] = ()
    why_no_pictures: str = "none were made"
    overfit: Mapping[str, Any] | None = None
    searches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    others: Sequence[OtherImages] = ()
    compared: Mapping[str, Any] | None = None


@contextmanager
def facts_of(file: str) -> Iterator[None]:
    """Name the file in the error where its contents are not what is expected."""
    try:
        yield
    except KeyError as error:
        raise DataError(f"{file}: no {error}") from error
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise DataError(f"{file}: {error}") from error
