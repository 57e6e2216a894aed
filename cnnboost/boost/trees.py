"""Trees: rows to grow them on or to watch, and one run of XGBoost.

Base margins are the scores from which boosting starts, in place of the share of each class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnboost.boost.blocks import BinsCache, bins_cache, block_matrix, in_thread, needed_cache
from cnnboost.boost.params import (
    check_with_xgboost,
    count_threads,
    resolve_device,
    used_device,
    xgboost_parameters,
)
from cnnboost.errors import DataError, DeviceError, TrainingError, without_trace
from cnnboost.features.feature_parts import FeatureParts

if TYPE_CHECKING:
    from xgboost import Booster, DMatrix

#: Values (rows times columns) up to which rows are repeated in place of weighted: 16 MiB.
_REPEATED = 1 << 22

#: The probability at which boosting starts a class without training rows: less than boosting ever leaves to
#: a class that has some, and yet above zero, so that its logarithm is finite.
ABSENT_PROBABILITY = 1e-12


class Rows(NamedTuple):
    """Rows of a training or a validation set."""

    X: NDArray[np.float32] | FeatureParts
    codes: NDArray[np.intp]
    weight: NDArray[np.float32] | None
    margin: NDArray[np.float32] | None = None

    def take(self, where: NDArray[np.intp]) -> Rows:
        """Copy the rows with these numbers."""
        return Rows(*(None if part is None else part[where] for part in self))  # type: ignore[arg-type]

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
        sets keep their weights: their trees hardly change by the rounding, and copies would cost time.
        """
        if self.weight is None or (self.weight == 1).all():
            return self._replace(weight=None)
        total = self.weight.sum(dtype=np.float64)
        if not total or total * self.X.shape[1] > _REPEATED or (self.weight % 1).any():
            return self
        times = np.repeat(np.arange(len(self.X)), self.weight.astype(np.intp))
        return self.take(times)._replace(weight=None)

    def sample(self) -> Rows:
        """Choose rows from all over, up to two blocks; nothing is read."""
        assert isinstance(self.X, FeatureParts)
        places = np.linspace(0, len(self.X) - 1, self.X.sample_rows)
        return self.take(np.unique(places.astype(np.intp)))

    def bins(self, *, max_bin: int, n_threads: int) -> DMatrix:
        """Read rows into memory, and decide by them where bins are cut."""
        X = np.array(self.X)  # a copy, as values change
        X[~np.isfinite(X)] = np.nan  # which XGBoost leaves out here; it is named where all rows are read
        return self._replace(X=X).matrix("X", max_bin=max_bin, n_threads=n_threads)

    def log_loss_of_margin(self) -> float | None:
        """Return the weighted mean log-loss of the margins alone, as XGBoost's `mlogloss` has it."""
        from scipy.special import log_softmax

        if self.margin is None:
            return None
        scores = log_softmax(self.margin.astype(np.float64), axis=1)
        return float(-np.average(scores[np.arange(len(self.codes)), self.codes], weights=self.weight))

    def matrix(
        self, name: str, *, max_bin: int, n_threads: int, ref: Any = None, cache: BinsCache | None = None
    ) -> DMatrix:
        """Quantise the rows for XGBoost, with the bins of `ref` if there is one."""
        from xgboost import QuantileDMatrix

        if isinstance(self.X, FeatureParts) or cache is not None:
            return block_matrix(self, name, max_bin=max_bin, n_threads=n_threads, ref=ref, cache=cache)
        return in_thread(
            lambda: QuantileDMatrix(
                self.X,
                label=self.codes,
                weight=self.weight,
                base_margin=self.margin,
                max_bin=max_bin,
                nthread=n_threads,
                ref=ref,
            )
        )


def check_margin(
    margin: ArrayLike | None, n: int, classes: Sequence[Any] | NDArray[Any], name: str, wanted: bool = True
) -> NDArray[np.float32] | None:
    """Check base margins and return them as XGBoost takes them; refuse any where none are wanted."""
    if margin is None and not wanted:
        return None
    if margin is None or not wanted:
        problem = (
            "is missing: the trees start from margins, and so must predictions and watched rows"
            if wanted
            else "was given to a head that is fitted without; leave it out, or fit with base_margin="
        )
        raise DataError(f"{name} {problem}")
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


class Trees(NamedTuple):
    """What a run of XGBoost gave."""

    booster: Booster
    best_iteration: int
    history: dict[str, dict[str, list[float]]]
    device: str

    def ready(self, parameters: Mapping[str, Any]) -> Trees:
        """Let predictions use the CPU's threads: they may be of more rows than the trees were grown on."""
        self.booster.set_param({"device": "cpu", "nthread": count_threads(parameters["n_jobs"])})
        return self


def starting_scores(rows: Rows, n_classes: int) -> list[float] | None:
    """Give the scores from which boosting starts when a class has no rows, None when each has some.

    XGBoost estimates them well from the share of each class, but gives a class without rows so much that
    boosting can push other classes below it.
    """
    totals = np.bincount(rows.codes, weights=rows.weight, minlength=n_classes).astype(np.float64)
    if totals.all():
        return None
    scores: list[float] = np.log(np.maximum(totals / totals.sum(), ABSENT_PROBABILITY)).tolist()
    return scores


def prepared(
    parameters: Mapping[str, Any], rows: Rows, n_classes: int, seed: int, device: str
) -> dict[str, Any]:
    """Return what XGBoost is told, in its own terms; refuse what it would refuse."""
    params = xgboost_parameters(
        parameters,
        n_classes=n_classes,
        seed=seed,
        device=device,
        n_threads=count_threads(parameters["n_jobs"], rows.X.size),
    )
    check_with_xgboost(params, parameters["xgb_params"] or {}, rows.X.shape[1])
    scores = None if rows.margin is not None else starting_scores(rows, n_classes)
    if scores is not None:
        params.setdefault("base_score", scores)
    return params


def grow_trees(
    parameters: Mapping[str, Any],
    rows: Rows,
    watched: Rows | None,
    n_classes: int,
    seed: int,
    memory: str | int | None = None,
) -> Trees:
    """Grow trees on rows, until their loss on the watched rows rises where early stopping is asked for."""
    import xgboost

    params = prepared(parameters, rows, n_classes, seed, resolve_device(parameters["device"]))
    needed = needed_cache(rows, watched, n_classes, parameters["max_bin"], memory, params["device"])
    try:
        with nullcontext(None) if needed is None else bins_cache(*needed) as cache:
            trees = _grown(params, parameters, rows, watched, cache)
    except xgboost.core.XGBoostError as error:
        raise TrainingError(
            f"XGBoost gave up on {rows.X.shape[0]} rows of {rows.X.shape[1]} features on "
            f"{params['device']}: {without_trace(error)}"
        ) from error
    if trees.device != params["device"]:
        raise DeviceError(
            f"the trees were to grow on {params['device']}, but XGBoost used {trees.device}; "
            "free that GPU or use device='cpu'"
        )
    return trees.ready(parameters)


def matrices(
    rows: Rows,
    watched: Rows | None,
    bins: DMatrix | None,
    *,
    max_bin: int,
    n_threads: int,
    cache: BinsCache | None = None,
) -> tuple[DMatrix, list[tuple[DMatrix, str]]]:
    """Quantise rows to grow on, and those to watch as `xgboost.train` takes them, in the same bins."""
    options: dict[str, Any] = {"max_bin": max_bin, "n_threads": n_threads, "cache": cache}
    train = rows.matrix("X", ref=bins, **options)
    if watched is None:
        return train, []
    return train, [(watched.matrix("X of validation_data", ref=train, **options), "validation")]


def _grown(
    params: Mapping[str, Any],
    parameters: Mapping[str, Any],
    rows: Rows,
    watched: Rows | None,
    cache: BinsCache | None,
) -> Trees:
    """Run XGBoost; its matrices end with this call, and so before the cache that they may have."""
    import xgboost

    patience = parameters["early_stopping_rounds"]
    history: dict[str, Any] = {}
    options = {"max_bin": parameters["max_bin"], "n_threads": params["nthread"]}
    one_block = not isinstance(rows.X, FeatureParts) or rows.X.n_blocks < 2
    bins = None if one_block else rows.sample().bins(**options)
    dtrain, evals = matrices(rows, watched, bins, cache=cache, **options)
    del bins
    booster = xgboost.train(
        params,
        dtrain,
        num_boost_round=parameters["n_estimators"],
        evals=evals,
        early_stopping_rounds=patience if evals else None,
        evals_result=history,
        verbose_eval=False,
    )
    device = used_device(booster)
    trained = booster.num_boosted_rounds()
    best = trained - 1
    if watched is not None and patience is not None:
        best = booster.best_iteration
        of_margin = watched.log_loss_of_margin()
        if of_margin is not None and history["validation"]["mlogloss"][best] >= of_margin:
            best = -1
    if best < 0 < trained:
        booster = xgboost.train(params, dtrain, num_boost_round=0)
    elif best + 1 < trained:
        # A slice is what every user of the booster then sees: exporters know nothing of a best iteration.
        booster = booster[: best + 1]
    plain = {name: {metric: list(values) for metric, values in log.items()} for name, log in history.items()}
    return Trees(booster, best, plain, device)
