"""Base margins: the scores from which boosting starts, in place of the share of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnboost.errors import DataError

if TYPE_CHECKING:
    from cnnboost.boost.training_data import Rows


def check_margin(
    margin: ArrayLike, n: int, classes: Sequence[Any] | NDArray[Any], name: str
) -> NDArray[np.float32]:
    """Check base margins and return them as XGBoost takes them."""
    try:
        scores = np.ascontiguousarray(margin, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no array of numbers: {error}") from error
    k = len(classes)
    if scores.shape != (n, k):
        named = ", ".join(map(str, list(classes)[:7])) + (", ..." if k > 7 else "")
        raise DataError(
            f"{name} has the shape {scores.shape}; give one score for each of {n} rows and {k} classes "
            f"({named}): ({n}, {k})"
        )
    finite = np.isfinite(scores)
    if not finite.all():
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise DataError(
            f"{name} is {scores[row, column]} at row {row}, class {list(classes)[column]}; "
            "probabilities of 0 have no logarithm: bound them first"
        )
    return scores


def matching_margin(
    margin: ArrayLike | None, n: int, classes: Sequence[Any] | NDArray[Any], name: str, wanted: bool
) -> NDArray[np.float32] | None:
    """Check that there are margins where the trees were grown from some, and none elsewhere."""
    if (margin is not None) != wanted:
        said = (
            "is missing: the trees start from margins, and so must predictions and watched rows"
            if wanted
            else "was given to a head that is fitted without; leave it out, or fit with base_margin="
        )
        raise DataError(f"{name} {said}")
    return None if margin is None else check_margin(margin, n, classes, name)


def log_loss_of(rows: Rows) -> float:
    """Return the weighted mean log-loss of the margins alone, as XGBoost's `mlogloss` has it."""
    from scipy.special import log_softmax

    assert rows.margin is not None
    given = log_softmax(rows.margin.astype(np.float64), axis=1)[np.arange(len(rows.codes)), rows.codes]
    return float(-np.average(given, weights=rows.weight))
