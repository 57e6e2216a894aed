"""A page and where it was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Reported:
    """A page and where it was written."""

    path: Path
    recipes: list[str]
    figures: list[str] = field(default_factory=list)
    mistakes: int = 0
    why_no_pictures: str | None = None
    warnings: list[str] = field(default_factory=list)
