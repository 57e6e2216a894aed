"""What tables, pages and files call the CNN and its heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def head_name(head: Mapping[str, Any]) -> str:
    """Return what tables call a head.

    Parameters
    ----------
    head : mapping
        One of the `heads` of `metrics.json`.

    Returns
    -------
    str

    Examples
    --------
    >>> head_name({"layer": "fc1", "mode": "plain"}), head_name({"layer": "fc1", "mode": "residual"})
    ('XGBoost at fc1', 'XGBoost at fc1, residual')
    """
    mode = "" if head["mode"] == "plain" else f", {head['mode']}"
    return f"XGBoost at {head['layer']}{mode}"


def head_key(head: Mapping[str, Any]) -> str:
    """Return the name of a head that no other of the same scores has: its layer, and its mode if it has one.

    Parameters
    ----------
    head : mapping
        One of the `heads` of `metrics.json`.

    Returns
    -------
    str

    Examples
    --------
    >>> head_key({"layer": "fc1", "mode": "plain"}), head_key({"layer": "fc1", "mode": "residual"})
    ('fc1', 'fc1-residual')
    """
    layer = str(head["layer"])
    return layer if head["mode"] == "plain" else f"{layer}-{head['mode']}"


def classifiers(metrics: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return key, name and scores of every classifier, the CNN's softmax first where it has one.

    Parameters
    ----------
    metrics : mapping
        What `metrics.json` holds.

    Returns
    -------
    list of (str, str, mapping)
        The key of the CNN is empty.
    """
    cnn = metrics["cnn"]
    found = [] if cnn is None else [("", "CNN softmax", cnn)]
    return found + [(head_key(head), head_name(head), head) for head in metrics["heads"]]
