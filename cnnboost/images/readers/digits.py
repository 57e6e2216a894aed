"""The handwritten digits that come with scikit-learn: 1,797 images of 8x8, no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from cnnboost.errors import DataError
from cnnboost.images.readers.listing import Listing, Reader, array_listing, stamp
from cnnboost.images.tree import FileStamp


def _files(source: str) -> list[FileStamp]:
    """Find scikit-learn's own file without importing scikit-learn."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("digits: scikit-learn is not installed; pip install scikit-learn")
    return [stamp(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz")]


def _read(source: str) -> Listing:
    """Load the digits; their 17 grey levels 0 to 16 are spread over 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return array_listing(
        pixels,
        digits.target.astype(np.int64),
        tuple(str(name) for name in digits.target_names),
        splits=["train"] * len(pixels),
        ids=[f"row {row + 1}" for row in range(len(pixels))],
    )


#: A folder of that name is ``./digits``.
DIGITS = Reader(
    "digits",
    "the word 'digits' (scikit-learn's handwritten digits)",
    lambda source: source == "digits",
    _files,
    _read,
)
