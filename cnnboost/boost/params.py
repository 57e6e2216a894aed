"""The parameters of XGBoost: checked before any training, and turned into its own dict."""

from __future__ import annotations

import copy
import difflib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, check_scalar

from cnnboost.config.limits import BOOST, SEED, shown
from cnnboost.errors import ParameterError

if TYPE_CHECKING:
    from numpy.random import RandomState

#: Parameters that are handed to XGBoost under their own name: type, lowest and highest value, and whether
#: these belong to it.
_PASSED: dict[str, tuple[type, float | None, float | None, str]] = {
    "max_depth": (Integral, 0, BOOST["max_depth"], "both"),
    "learning_rate": (Real, 0, BOOST["learning_rate"], "right"),
    "min_child_weight": (Real, 0, BOOST["min_child_weight"], "both"),
    "gamma": (Real, 0, BOOST["gamma"], "both"),
    "subsample": (Real, 0, 1, "right"),
    "colsample_bytree": (Real, 0, 1, "right"),
    "reg_lambda": (Real, 0, BOOST["reg_lambda"], "both"),
    "reg_alpha": (Real, 0, BOOST["reg_alpha"], "both"),
    "max_bin": (Integral, 2, BOOST["max_bin"], "both"),
}
_KEPT: dict[str, tuple[type, float | None, float | None, str]] = {
    "n_estimators": (Integral, 0, BOOST["n_estimators"], "both"),
    "validation_fraction": (Real, 0, 1, "neither"),
}

_REFUSED = {
    "objective": "it is always multi:softprob",
    "num_class": "it follows from the labels; use classes= to name classes that the rows may lack",
    "tree_method": "it is always hist",
    "eval_metric": "it is always mlogloss",
    "verbosity": "training is silent; evals_result_ has the history",
    "validate_parameters": "parameters are always validated",
    "gpu_id": "use device='cuda:N'",
    "predictor": "use device=",
    "eta": "use learning_rate=",
    "lambda": "use reg_lambda=",
    "alpha": "use reg_alpha=",
    "min_split_loss": "use gamma=",
    "nthread": "use n_jobs=",
    "seed": "use random_state=",
    "num_boost_round": "use n_estimators=",
}


class BoostParameters(BaseEstimator):
    """Takes the parameters of `BoostClassifier`, which describes each of them, as they are."""

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        max_depth: int = 6,
        learning_rate: float = 0.3,
        min_child_weight: float = 1,
        gamma: float = 0,
        subsample: float = 1,
        colsample_bytree: float = 1,
        reg_lambda: float = 1,
        reg_alpha: float = 0,
        max_bin: int = 256,
        class_weight: str | Mapping[Any, float] | None = None,
        classes: Sequence[Any] | NDArray[Any] | None = None,
        early_stopping_rounds: int | None = None,
        validation_fraction: float = 0.1,
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: int | RandomState | None = 0,
        xgb_params: Mapping[str, Any] | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.learning_rate = learning_rate
        self.min_child_weight = min_child_weight
        self.gamma = gamma
        self.subsample = subsample
        self.colsample_bytree = colsample_bytree
        self.reg_lambda = reg_lambda
        self.reg_alpha = reg_alpha
        self.max_bin = max_bin
        self.class_weight = class_weight
        self.classes = classes
        self.early_stopping_rounds = early_stopping_rounds
        self.validation_fraction = validation_fraction
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.xgb_params = xgb_params


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter of the classifier that has an impossible value."""
    checks = {**_PASSED, **_KEPT}
    if parameters["early_stopping_rounds"] is not None:
        checks["early_stopping_rounds"] = (Integral, 1, BOOST["early_stopping_rounds"], "both")
    for name, (kind, low, high, boundaries) in checks.items():
        value = parameters[name]
        try:
            check_scalar(value, name, kind, min_val=low, max_val=high, include_boundaries=boundaries)
        except (TypeError, ValueError) as error:
            raise ParameterError(str(error)) from error
        if isinstance(value, bool | np.bool_) or not math.isfinite(value):
            raise ParameterError(f"{name} == {value!r}, must be a finite number")
    seed = parameters["random_state"]
    if isinstance(seed, Integral) and not 0 <= int(seed) <= SEED:
        raise ParameterError(f"random_state={shown(seed)} must be from 0 to {SEED:,}")
    further = parameters["xgb_params"]
    if further is None:
        return
    if not isinstance(further, Mapping):
        raise ParameterError(f"xgb_params={further!r} is not a dict of XGBoost parameters")
    for key, value in further.items():
        if key in _REFUSED:
            raise ParameterError(f"xgb_params has {key!r}: {_REFUSED[key]}")
        if key in parameters:
            raise ParameterError(f"xgb_params has {key!r}, which is a parameter of its own; use {key}=")
        if key == "booster" and value not in ("gbtree", "dart"):
            raise ParameterError(
                f"xgb_params has booster={value!r}; the head is trees: use 'gbtree' or 'dart'"
            )
    if further.get("booster") == "dart" and parameters["early_stopping_rounds"] is not None:
        raise ParameterError(
            "xgb_params has booster='dart', whose later rounds change the weight of earlier trees: "
            "the best round is lost by the time it is known; use early_stopping_rounds=None or "
            "booster='gbtree'"
        )


def xgboost_parameters(
    parameters: Mapping[str, Any], *, n_classes: int, seed: int, device: str, n_threads: int
) -> dict[str, Any]:
    """Build the dict for `xgboost.train`."""
    further = copy.deepcopy(dict(parameters["xgb_params"] or {}))
    if isinstance(further.get("monotone_constraints"), list):
        # XGBoost takes a tuple only; a saved head has lists, as JSON does.
        further["monotone_constraints"] = tuple(further["monotone_constraints"])
    return {
        "objective": "multi:softprob",
        "num_class": n_classes,
        "eval_metric": "mlogloss",
        "tree_method": "hist",
        "device": device,
        "nthread": n_threads,
        "seed": seed,
        **{name: parameters[name] for name in _PASSED},
        **further,
    }


def check_with_xgboost(
    xgboost_params: Mapping[str, Any], further: Mapping[str, Any], n_features: int
) -> None:
    """Let XGBoost itself judge the parameters, on no data, before the costly work begins.

    XGBoost trains on with a mere warning about a name that it does not know; here it is an error. Its
    configuration lists every name that it has understood.
    """
    import xgboost

    # The device is not in question here, and a GPU would cost time.
    params = {**xgboost_params, "device": "cpu"}
    with xgboost.config_context(verbosity=0):
        row = xgboost.DMatrix(np.zeros((1, n_features), dtype=np.float32), label=[0.0])
        try:
            config = json.loads(xgboost.Booster(params, [row]).save_config())
        except (TypeError, ValueError) as error:  # XGBoostError is a ValueError
            # The first lines say it; a C++ stack trace may follow.
            reason = str(error).split("Stack trace")[0].strip()
            raise ParameterError(f"XGBoost refuses xgb_params={dict(further)!r}: {reason}") from error
    known = set(_names(config))
    for key in further:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else "leave it out"
            raise ParameterError(
                f"xgb_params has {key!r}, which XGBoost {xgboost.__version__} does not use; {remedy}"
            )


def _names(config: Any, is_training: bool = False) -> Iterator[str]:
    """Yield the names of the training parameters in a configuration.

    They are the keys of its objects called `..._train_param`, and of `generic_param`; what describes the
    finished model (`..._model_param`) is no parameter, but for two that are both.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            if isinstance(value, str) and (is_training or key in ("base_score", "num_parallel_tree")):
                yield key
            yield from _names(value, key.endswith("_train_param") or key == "generic_param")
    elif isinstance(config, list):
        for value in config:
            yield from _names(value)


def draw_seed(random_state: int | RandomState | None) -> int:
    """Turn scikit-learn's `random_state` into a seed for XGBoost: an integer is taken as it is."""
    generator = check_random_state(random_state)
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(generator.randint(np.iinfo(np.int32).max))


_CELLS_PER_THREAD = 100_000


def count_threads(n_jobs: int | None, cells: int | None = None) -> int:
    """Turn joblib's `n_jobs` into XGBoost's `nthread`, where 0 leaves the number to OpenMP.

    Trees on few cells, rows times columns, are grown by fewer threads: these meet so often that they mostly
    wait for each other, and OpenMP's wait by spinning, which takes the cores away from whoever has work.
    Only the order in which sums are rounded depends on it.
    """
    if n_jobs is None:
        wanted = 0 if cells is None else max(1, cells // _CELLS_PER_THREAD)
        allowed = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        most = int(allowed) if allowed.isdecimal() else effective_n_jobs(-1)
        return wanted if wanted < most else 0
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0:
        raise ParameterError(f"n_jobs == {n_jobs!r}, must be None, a number of threads, or -1 for all")
    return int(effective_n_jobs(n_jobs))
