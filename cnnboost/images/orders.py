"""The orders in which a network from elsewhere may give the classes of an image set."""

from __future__ import annotations

import re

from cnnboost.images.imageset import ImageSet
from cnnboost.images.readers import find_reader
from cnnboost.images.readers.csv import EMOTIONS


def output_orders(images: ImageSet) -> list[tuple[str, ...]]:
    """Return the orders that are in use for classes of these names, the likeliest first."""
    orders = [images.classes, tuple(sorted(images.classes)), tuple(sorted(images.classes, key=_by_number))]
    if all(name.lower() in EMOTIONS for name in images.classes):
        numbered = tuple(sorted(images.classes, key=lambda name: EMOTIONS.index(name.lower())))
        orders.insert(0 if _is_csv(images.source) else 1, numbered)
    return list(dict.fromkeys(orders))


def are_numbers(classes: tuple[str, ...]) -> bool:
    """Tell whether all classes are named by whole numbers."""
    return all(name.isdecimal() for name in classes)


def _is_csv(source: str) -> bool:
    return source.lower().endswith(".csv") and find_reader(source).name == "csv"


def _by_number(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]
