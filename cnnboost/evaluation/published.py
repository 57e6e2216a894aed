"""Own accuracies beside the ones that others printed, for one recipe and over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnnboost.evaluation.page import paragraphs, render

_INSIDE, _BELOW, _ABOVE = "inside the interval", "below the interval", "above the interval"


class Beside(NamedTuple):
    """One accuracy beside the published one.

    Attributes
    ----------
    name : str
        Of the classifier.
    published : float or None
    own : float
    interval : tuple of float or None
        Of the own accuracy.
    difference : float or None
        Own minus published.
    place : str
        Where the published number lies; empty where there is none.
    verdict : str
        Of the head against the CNN; empty for the CNN.
    """

    name: str
    published: float | None
    own: float
    interval: Sequence[float] | None
    difference: float | None
    place: str
    verdict: str

    @property
    def outside(self) -> bool:
        """Whether the published number lies outside the interval."""
        return self.place in (_BELOW, _ABOVE)


def beside_published(metrics: Mapping[str, Any]) -> list[Beside]:
    """Put the accuracy of the CNN and of each head beside the published ones.

    Parameters
    ----------
    metrics : mapping
        What `metrics.json` holds.

    Returns
    -------
    list of Beside
        The CNN first; one row for each head.
    """
    known = metrics.get("published") or {}
    rows = [_beside("CNN softmax", known.get("cnn"), metrics["cnn"]["scores"], "")]
    for head in metrics["heads"]:
        published = (known.get("layers") or {}).get(head["layer"])
        rows.append(_beside(head_name(head), published, head["scores"], head["against_cnn"]["verdict"]))
    return rows


def _beside(name: str, published: float | None, scores: Mapping[str, Any], verdict: str) -> Beside:
    own, interval = scores["accuracy"]["value"], scores["accuracy"]["interval"]
    if published is None:
        return Beside(name, None, own, interval, None, "", verdict)
    place = ""
    if interval is not None:
        place = _BELOW if published < interval[0] else _ABOVE if published > interval[1] else _INSIDE
    return Beside(name, published, own, interval, own - published, place, verdict)


def head_name(head: Mapping[str, Any]) -> str:
    """Return what tables call a head.

    Parameters
    ----------
    head : mapping
        One of the `heads` of `metrics.json`.

    Returns
    -------
    str
    """
    mode = "" if head["mode"] == "plain" else f", {head['mode']}"
    return f"XGBoost at {head['layer']}{mode}"


class Entry(NamedTuple):
    """One recipe of the overview.

    Attributes
    ----------
    metrics : mapping
        What its `metrics.json` holds.
    link : str
        Address of its page from the overview, or empty.
    notes : str
        Plain text of a person.
    """

    metrics: Mapping[str, Any]
    link: str = ""
    notes: str = ""


def overview_page(entries: Sequence[Entry]) -> str:
    """Write the page over all recipes: a row for each CNN and head, published beside own.

    Parameters
    ----------
    entries : sequence of Entry

    Returns
    -------
    str
        HTML.

    Raises
    ------
    DataError, KeyError, TypeError
        If the facts are not what `evaluate` writes.
    """
    return render("overview.html.j2", recipes=[_recipe(entry) for entry in entries])


def _recipe(entry: Entry) -> dict[str, Any]:
    metrics = entry.metrics
    rows = beside_published(metrics)
    return {
        "name": metrics["recipe"],
        "title": metrics["title"] or metrics["recipe"],
        "link": entry.link,
        "split": metrics["split"],
        "n": metrics["cnn"]["scores"]["n"],
        "source": (metrics.get("published") or {}).get("source", ""),
        "notes": paragraphs(entry.notes),
        "rows": rows,
        "outside": any(row.outside for row in rows),
    }
