"""The handwritten digits that come with scikit-learn: 1,797 images of 8x8, no download."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cnnboost.errors import DataError
from cnnboost.images.readers.arrays import array_listing
from cnnboost.images.readers.listing import Listing, stamp
from cnnboost.images.tree import FileStamp


class DigitsReader:
    """The word ``digits``. A folder of that name is ``./digits``."""

    name = "digits"
    accepts = "the word 'digits' (scikit-learn's handwritten digits)"

    def matches(self, source: str | Path) -> bool:
        """Tell whether the source is the word."""
        return source == "digits"

    def files(self, source: str | Path) -> Iterable[FileStamp]:
        """Return scikit-learn's own file, found without importing scikit-learn."""
        found = importlib.util.find_spec("sklearn")
        if found is None or found.origin is None:
            raise DataError("digits: scikit-learn is not installed; pip install scikit-learn")
        return [stamp(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz")]

    def read(self, source: str | Path) -> Listing:
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
