"""Trees: one run of XGBoost, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnnboost.boost.device import resolve_device, used_device
from cnnboost.boost.margins import log_loss_of
from cnnboost.boost.params import check_with_xgboost, count_threads, xgboost_parameters
from cnnboost.errors import DeviceError, TrainingError

if TYPE_CHECKING:
    from xgboost import Booster, DMatrix

    from cnnboost.boost.training_data import Rows

#: The probability at which boosting starts a class without training rows: less than boosting ever leaves to
#: a class that has some, and yet above zero, so that its logarithm is finite.
ABSENT_PROBABILITY = 1e-12


class Trees(NamedTuple):
    """What a run of XGBoost gave."""

    booster: Booster
    best_iteration: int
    history: dict[str, dict[str, list[float]]]
    device: str


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


def boost_rows(
    parameters: Mapping[str, Any], rows: Rows, watched: Rows | None, n_classes: int, seed: int
) -> Trees:
    """Quantise rows and grow trees on them."""
    n_threads = count_threads(parameters["n_jobs"], rows.X.size)
    params = xgboost_parameters(
        parameters,
        n_classes=n_classes,
        seed=seed,
        device=resolve_device(parameters["device"]),
        n_threads=n_threads,
    )
    check_with_xgboost(params, parameters["xgb_params"] or {}, rows.X.shape[1])
    scores = None if rows.margin is not None else starting_scores(rows, n_classes)
    if scores is not None:
        params.setdefault("base_score", scores)
    dtrain = rows.matrix(max_bin=parameters["max_bin"], n_threads=n_threads)
    dvalid, to_beat = None, None
    if watched is not None:
        dvalid = watched.matrix(max_bin=parameters["max_bin"], n_threads=n_threads, ref=dtrain)
        to_beat = None if watched.margin is None else log_loss_of(watched)
    trees = grow_trees(
        params,
        dtrain,
        dvalid,
        rounds=parameters["n_estimators"],
        patience=parameters["early_stopping_rounds"],
        to_beat=to_beat,
    )
    # Predictions may be of more rows than the trees were grown on.
    trees.booster.set_param({"nthread": count_threads(parameters["n_jobs"])})
    return trees


def grow_trees(
    params: dict[str, Any],
    dtrain: DMatrix,
    dvalid: DMatrix | None,
    *,
    rounds: int,
    patience: int | None,
    to_beat: float | None = None,
) -> Trees:
    """Run XGBoost."""
    import xgboost

    history: dict[str, Any] = {}
    stops_early = patience is not None and dvalid is not None
    try:
        booster = xgboost.train(
            params,
            dtrain,
            num_boost_round=rounds,
            evals=[] if dvalid is None else [(dvalid, "validation")],
            early_stopping_rounds=patience if stops_early else None,
            evals_result=history,
            verbose_eval=False,
        )
    except xgboost.core.XGBoostError as error:
        reason = str(error).split("Stack trace")[0].strip()
        raise TrainingError(
            f"XGBoost gave up on {dtrain.num_row()} rows of {dtrain.num_col()} features on "
            f"{params['device']}: {reason}"
        ) from error
    device = used_device(booster)
    if device != params["device"]:
        raise DeviceError(
            f"the trees were to grow on {params['device']}, but XGBoost used {device}; "
            "free that GPU or use device='cpu'"
        )
    trained = booster.num_boosted_rounds()
    best = booster.best_iteration if stops_early else trained - 1
    if stops_early and to_beat is not None and history["validation"]["mlogloss"][best] >= to_beat:
        best = -1
        booster = xgboost.train(params, dtrain, num_boost_round=0)
    elif best + 1 < trained:
        # A slice is what every user of the booster then sees: exporters know nothing of a best iteration.
        booster = booster[: best + 1]
    booster.set_param({"device": "cpu"})
    plain = {name: {metric: list(values) for metric, values in log.items()} for name, log in history.items()}
    return Trees(booster, best, plain, device)
