"""What a stage that measures gives back: one JSON document, and the files that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What was found, the file that holds it, and what was drawn of it."""

    document: dict[str, Any]
    path: Path
    figures: Sequence[Path] = ()

    @property
    def shown(self) -> dict[str, Any]:
        """The document as a command shows it: with the files that were written."""
        return {**self.document, "written": [str(path) for path in (self.path, *self.figures)]}
