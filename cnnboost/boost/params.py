"""The parameters, device and threads of XGBoost: checked before training, and converted to its own dict."""

from __future__ import annotations

import copy
import difflib
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from joblib import effective_n_jobs
from pydantic import Field
from sklearn.utils import check_random_state

from cnnboost.config.limits import check_options
from cnnboost.config.tables import Boost, Seed, Share
from cnnboost.errors import DeviceError, ParameterError, without_trace

if TYPE_CHECKING:
    from numpy.random import RandomState
    from xgboost import Booster


class BoostOptions(Boost):
    """`[boost]` as parameters of `BoostClassifier`: here a few may be more, or have another name."""

    n_estimators: Annotated[int, Field(ge=0, le=100_000)] = 100
    validation_fraction: Share = 0.1
    seed: Annotated[Seed, Field(alias="random_state")] = 0
    # These have checks of their own, which know the labels, the machine or XGBoost.
    class_weight: Any = None
    device: Any = "auto"
    xgb_params: Any = None


#: What `[boost]` has besides the parameters that are handed to XGBoost under their own name.
_OWN = {
    "n_estimators",
    "early_stopping_rounds",
    "validation_fraction",
    "class_weight",
    "device",
    "seed",
    "xgb_params",
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


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter of the classifier that has an impossible value."""
    checked = {name: parameters[name] for name in Boost.model_fields if name != "seed"}
    seed = parameters["random_state"]
    if isinstance(seed, Integral):
        checked["random_state"] = int(seed)
    check_options(BoostOptions, checked)
    further = parameters["xgb_params"]
    if further is None:
        return
    if not isinstance(further, Mapping):
        raise ParameterError(f"xgb_params={further!r}: give a dict of XGBoost parameters")
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
        **{name: parameters[name] for name in Boost.model_fields if name not in _OWN},
        **further,
    }


def check_with_xgboost(
    xgboost_params: Mapping[str, Any], further: Mapping[str, Any], n_features: int
) -> None:
    """Let XGBoost itself check the parameters, on no data, before the costly work begins.

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
            raise ParameterError(
                f"XGBoost refuses xgb_params={dict(further)!r}: {without_trace(error)}"
            ) from error
    known = set(_names(config))
    for key in further:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else "leave it out"
            raise ParameterError(
                f"xgb_params has {key!r}, which XGBoost {xgboost.__version__} does not use; {remedy}"
            )


def _names(config: Any, is_training: bool = False) -> Iterator[str]:
    """Yield the names of the training parameters in a configuration."""
    # Keys of `..._train_param` and `generic_param`; two of the finished model (`..._model_param`) are both.
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


DEVICES = ("auto", "cpu", "cuda", "cuda:N")

_REMEDIES = {
    "gpu": "use device='cuda'",
    "gpu_hist": "XGBoost removed it; use device='cuda' (the trees are histogram trees on every device)",
}


def resolve_device(device: str = "auto") -> str:
    """Name the device that XGBoost will train on here.

    A GPU counts as usable when one round of training on it really ran there: XGBoost by itself falls back
    to the CPU with nothing but a warning. "auto" is the first usable GPU, else the CPU.
    """
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        remedy = _REMEDIES.get(str(device), "one of these would do: " + ", ".join(DEVICES))
        raise DeviceError(f"device={device!r} is unknown; {remedy}")
    if device == "cpu":
        return "cpu"
    usable, reason = _probe("cuda" if device == "auto" else device)
    if device in ("auto", usable) or (device == "cuda" and usable != "cpu"):
        return usable
    raise DeviceError(
        f"device={device!r} was demanded, but {reason}; use device='auto' or 'cpu', or make a GPU "
        "visible (see what nvidia-smi lists, and the CUDA_VISIBLE_DEVICES variable)"
    )


def used_device(booster: Booster) -> str:
    """Read from a booster's own configuration on which device it works."""
    device: str = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    return device


@functools.cache
def _probe(device: str) -> tuple[str, str]:
    """Train one round on `device`; return the device that it ran on, and the reason if that is another."""
    import xgboost

    version = f"XGBoost {xgboost.__version__}"
    if not xgboost.build_info().get("USE_CUDA", False):
        return "cpu", f"{version} was built without CUDA"
    # The fallback to the CPU is read from the configuration, so its warnings have nothing to add.
    with xgboost.config_context(verbosity=0):
        rows = xgboost.DMatrix(np.array([[0.0], [1.0]], dtype=np.float32), label=[0.0, 1.0])
        try:
            booster = xgboost.train({"device": device, "tree_method": "hist"}, rows, num_boost_round=1)
        except xgboost.core.XGBoostError as error:
            reason = str(error).strip().splitlines()[0]
            return "cpu", f"{version} cannot work on it: {reason}"
    used = used_device(booster)
    if used == "cpu":
        return used, f"{version} was built with CUDA and finds no usable GPU here"
    return used, f"{version} finds no GPU of that number and would take {used}"
