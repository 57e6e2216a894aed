"""What is told of the model: its manifest and metadata, and what its card says it is and is not for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cnnboost import __version__
from cnnboost.deploy.bundle import CARD, Bundle
from cnnboost.deploy.predictor import Predictor
from cnnboost.files import read_regular

#: The sections of a card that are shown, by their headings.
SECTIONS = {"use": "What it is for", "misuse": "What it must not be used for"}
_MOST_BYTES = 1 << 20


def about(predictor: Predictor, bundle: Bundle | None) -> dict[str, Any]:
    """Describe a model: title, classes, input, scores, and two sections of its card (None: there is none)."""
    manifest = bundle.manifest if bundle else {}
    scores = manifest.get("scores") or {}
    own = scores.get(predictor.graph)
    card = _card(bundle.folder / CARD) if bundle else ""
    return {
        "title": manifest.get("title") or predictor.details.get("recipe") or "a model",
        "recipe": predictor.details.get("recipe"),
        "graph": predictor.graph,
        "classes": predictor.names,
        "input": predictor.input._asdict(),
        "wants": predictor.wants,
        "layer": predictor.layer,
        "mode": predictor.mode,
        "scores": own and {"split": scores.get("split"), "images": scores.get("images"), **own},
        "card": {name: _section(card, heading) for name, heading in SECTIONS.items()},
        "version": __version__,
    }


def _card(path: Path) -> str:
    """Read the card beside a bundle; it is text for people, and a model may have none."""
    try:
        return read_regular(path, _MOST_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _section(card: str, heading: str) -> str | None:
    found = re.search(rf"^## +{re.escape(heading)} *\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    return (found.group(1).strip() or None) if found else None
