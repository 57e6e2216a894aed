"""Rows to train on or to watch: features, class numbers, weights, and base margins.

Base margins are the scores from which boosting starts, in place of the share of each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnboost.errors import DataError, FeatureError

if TYPE_CHECKING:
    from xgboost import QuantileDMatrix

#: Values looked at together in the search for NaN, so that its scratch memory stays small.
_CHUNK = 1 << 22
#: Values (rows times columns) up to which rows are repeated in place of weighted: 16 MiB.
_REPEATED = 1 << 22


class Rows(NamedTuple):
    """Rows of a training or a validation set."""

    X: NDArray[np.float32]
    codes: NDArray[np.intp]
    weight: NDArray[np.float32] | None
    margin: NDArray[np.float32] | None = None

    def take(self, where: NDArray[np.intp]) -> Rows:
        """Copy the rows with these numbers."""
        weight, margin = (None if part is None else part[where] for part in (self.weight, self.margin))
        return Rows(self.X[where], self.codes[where], weight, margin)

    def weighted(self, factors: NDArray[np.floating]) -> Rows:
        """Multiply the weight of each row by the factor of its class."""
        weight = factors[self.codes] * (1.0 if self.weight is None else self.weight)
        return self._replace(weight=weight.astype(np.float32))

    def with_weight(self) -> Rows:
        """Leave out the rows of weight 0, which XGBoost would still use to place its histogram bins."""
        if self.weight is None or self.weight.all():
            return self
        return self.take(np.flatnonzero(self.weight))

    def repeated(self) -> Rows:
        """Repeat rows by their weights, where these are whole numbers and the result is small.

        XGBoost multiplies gradients by weights in float32, whose rounding grows from round to round. Copies
        are summed in float64, so that a weight of 3 and three copies of a row grow the same trees. Large
        sets keep their weights: the rounding is no loss to them, the time for the copies would be.
        """
        if self.weight is None or (self.weight == 1).all():
            return self._replace(weight=None)
        total = self.weight.sum(dtype=np.float64)
        if not total or total * self.X.shape[1] > _REPEATED or (self.weight % 1).any():
            return self
        times = np.repeat(np.arange(len(self.X)), self.weight.astype(np.intp))
        return self.take(times)._replace(weight=None)

    def log_loss_of_margin(self) -> float | None:
        """Return the weighted mean log-loss of the margins alone, as XGBoost's `mlogloss` has it."""
        from scipy.special import log_softmax

        if self.margin is None:
            return None
        scores = log_softmax(self.margin.astype(np.float64), axis=1)
        return float(-np.average(scores[np.arange(len(self.codes)), self.codes], weights=self.weight))

    def matrix(self, *, max_bin: int, n_threads: int, ref: QuantileDMatrix | None = None) -> QuantileDMatrix:
        """Quantise the rows for XGBoost, with the bins of `ref` if there is one."""
        from xgboost import QuantileDMatrix

        return QuantileDMatrix(
            self.X,
            label=self.codes,
            weight=self.weight,
            base_margin=self.margin,
            max_bin=max_bin,
            nthread=n_threads,
            ref=ref,
        )


def refuse_non_finite(X: NDArray[np.float32], name: str) -> None:
    """Raise at the first value that is NaN or infinite."""
    step = max(1, _CHUNK // max(1, X.shape[1]))
    for start in range(0, len(X), step):
        finite = np.isfinite(X[start : start + step])
        if finite.all():
            continue
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        value = X[start + row, column]
        kind = "NaN" if np.isnan(value) else "infinite (inf), or too large for float32,"
        raise FeatureError(
            f"{name} is {kind} at row {start + row}, column {column}; leave that row out or impute it"
        )


def check_margin(
    margin: ArrayLike, n: int, classes: Sequence[Any] | NDArray[Any], name: str
) -> NDArray[np.float32]:
    """Check base margins and return them as XGBoost takes them."""
    try:
        scores = np.ascontiguousarray(margin, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} cannot be read as numbers: {error}") from error
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
        problem = (
            "is missing: the trees start from margins, and so must predictions and watched rows"
            if wanted
            else "was given to a head that is fitted without; leave it out, or fit with base_margin="
        )
        raise DataError(f"{name} {problem}")
    return None if margin is None else check_margin(margin, n, classes, name)
