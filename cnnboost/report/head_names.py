"""What tables, pages and files call the CNN and its heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def head_name(head: Mapping[str, Any]) -> str:
    """Return what tables call a head."""
    mode = "" if head["mode"] == "plain" else f", {head['mode']}"
    return f"XGBoost at {head['layer']}{mode}"


def head_key(head: Mapping[str, Any]) -> str:
    """Return a name that no other head of the same scores has: its layer, and its mode if it has one."""
    layer = str(head["layer"])
    return layer if head["mode"] == "plain" else f"{layer}-{head['mode']}"


def classifiers(metrics: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return key, name and scores of every classifier, the CNN's softmax first where it has one."""
    cnn = metrics["cnn"]
    found = [] if cnn is None else [("", "CNN softmax", cnn)]
    return found + [(head_key(head), head_name(head), head) for head in metrics["heads"]]
