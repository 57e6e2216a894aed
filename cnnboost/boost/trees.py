"""Trees: one run of XGBoost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnnboost.boost.device import resolve_device, used_device
from cnnboost.boost.params import check_with_xgboost, count_threads, xgboost_parameters
from cnnboost.boost.training_data import Rows
from cnnboost.errors import DeviceError, TrainingError

if TYPE_CHECKING:
    from xgboost import Booster

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


def grow_trees(
    parameters: Mapping[str, Any], rows: Rows, watched: Rows | None, n_classes: int, seed: int
) -> Trees:
    """Grow trees on rows, until their loss on the watched rows rises where early stopping is asked for."""
    import xgboost

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
    max_bin, patience = parameters["max_bin"], parameters["early_stopping_rounds"]
    history: dict[str, Any] = {}
    try:
        dtrain = rows.matrix(max_bin=max_bin, n_threads=n_threads)
        evals = []
        if watched is not None:
            evals = [(watched.matrix(max_bin=max_bin, n_threads=n_threads, ref=dtrain), "validation")]
        booster = xgboost.train(
            params,
            dtrain,
            num_boost_round=parameters["n_estimators"],
            evals=evals,
            early_stopping_rounds=patience if evals else None,
            evals_result=history,
            verbose_eval=False,
        )
    except xgboost.core.XGBoostError as error:
        reason = str(error).split("Stack trace")[0].strip()
        raise TrainingError(
            f"XGBoost gave up on {rows.X.shape[0]} rows of {rows.X.shape[1]} features on "
            f"{params['device']}: {reason}"
        ) from error
    device = used_device(booster)
    if device != params["device"]:
        raise DeviceError(
            f"the trees were to grow on {params['device']}, but XGBoost used {device}; "
            "free that GPU or use device='cpu'"
        )
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
    # Predictions may be of more rows than the trees were grown on.
    booster.set_param({"device": "cpu", "nthread": count_threads(parameters["n_jobs"])})
    plain = {name: {metric: list(values) for metric, values in log.items()} for name, log in history.items()}
    return Trees(booster, best, plain, device)
