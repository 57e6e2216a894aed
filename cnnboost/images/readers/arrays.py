"""Rows that are pixels already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnnboost.images.decode import InputSpec, fit_array
from cnnboost.images.readers.listing import Listing, split_order


def array_listing(
    pixels: npt.NDArray[np.uint8],
    y: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    splits: Sequence[str],
    ids: Sequence[str],
) -> Listing:
    """List the rows of arrays."""
    order = split_order(splits)
    names = [ids[row] for row in order]
    spec = InputSpec(*pixels.shape[1:])

    def image(row: int, wanted: InputSpec, resize: bool) -> np.ndarray:
        return fit_array(pixels[order[row]], wanted, names[row], resize=resize)

    return Listing(
        ids=names,
        y=y[order],
        classes=classes,
        splits=np.array(splits, dtype=np.str_)[order],
        shape=lambda _: spec,
        image=image,
    )
