"""Figures: their titles, their order on the page, and the section that each belongs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

from cnnboost.files import file_part
from cnnboost.report.head_names import classifiers
from cnnboost.report.page import FIGURE_ENDINGS, aspect, data_uri

# These show images of the data set itself.
SHOW_IMAGES = ("contact-sheet",)
_MATRICES = "Confusion matrices"
# Group, stem and title, in the order of the page; the matrices are put in by classifier.
_KNOWN = (
    ("Data and training", "class-distribution", "Images per class and split"),
    ("Data and training", "history", "Accuracy and loss over the epochs of the training"),
    (_MATRICES, "", ""),
    ("Class by class", "class-accuracy", "Share of each class that is recognised, CNN beside hybrid"),
    ("Class by class", "roc", "Receiver operating characteristic, one class against the rest"),
    ("Thresholds", "precision-recall", "Precision against recall over all thresholds"),
    ("Thresholds", "threshold-sweep", "Scores at each threshold"),
    ("Latency", "latency", "Latency of a call against the images in it"),
    ("Others", "contact-sheet", "Examples of each class"),
)

# A figure that is this many times as wide as high takes the whole width of the page.
_WIDE = 1.8

Figure = dict[str, Any]


def known_figures(
    figures: Mapping[str, bytes], metrics: Mapping[str, Any], elsewhere: Collection[str] = ()
) -> dict[str, list[Figure]]:
    """Return figures by group; a confusion matrix of a head that is not scored is out of date."""
    order = {stem: (place, group, title) for place, (group, stem, title) in enumerate(_table(metrics))}
    found: list[tuple[tuple[int, str], str, Figure]] = []
    for name, content in figures.items():
        stem, ending = PurePath(name).stem, PurePath(name).suffix.lower()
        if name in elsewhere or ending not in FIGURE_ENDINGS:
            continue
        if stem.startswith("confusion-") and stem not in order:
            continue
        place, group, title = order.get(stem, (len(order), "Others", ""))
        title = title or stem.replace("-", " ").replace("_", " ").capitalize()
        # Pictures of the data come after all that is drawn of it.
        place += (len(order) + 1) * (stem in SHOW_IMAGES)
        found.append(((place, stem), group, _figure(name, title, content)))
    groups: dict[str, list[Figure]] = {}
    for _, group, figure in sorted(found, key=lambda entry: entry[0]):
        groups.setdefault(group, []).append(figure)
    return groups


def _table(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List group, stem and title of every figure that the commands draw for these scores."""
    matrices = [
        (
            _MATRICES,
            f"confusion-{file_part(key or 'cnn')}",
            f"Confusion matrix of {title if key else 'the CNN'}",
        )
        for key, title, _ in classifiers(metrics)
    ]
    return [row for known in _KNOWN for row in (matrices if known[0] == _MATRICES else [known])]


def named_figures(figures: Mapping[str, bytes], named: Collection[Mapping[str, str]]) -> list[Figure]:
    """Return the figures that a document names; those that are not there are left out."""
    return [
        _figure(entry["file"], entry["title"], figures[entry["file"]])
        for entry in named
        if entry["file"] in figures
    ]


def _figure(name: str, title: str, content: bytes) -> Figure:
    ending = PurePath(name).suffix.lower()
    return {
        "stem": PurePath(name).stem,
        "title": title,
        "uri": data_uri(content, ending),
        "wide": aspect(content) >= _WIDE,
    }
