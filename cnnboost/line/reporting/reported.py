"""A page and where it was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Reported:
    """A page and where it was written.

    Attributes
    ----------
    path : Path
    recipes : list of str
        Those it shows.
    figures : list of str
        File names of the figures that were there for it.
    mistakes : int
        Pictures of mistakes.
    why_no_pictures : str or None
    warnings : list of str
        What the page warns of.
    """

    path: Path
    recipes: list[str]
    figures: list[str] = field(default_factory=list)
    mistakes: int = 0
    why_no_pictures: str | None = None
    warnings: list[str] = field(default_factory=list)
