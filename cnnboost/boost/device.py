"""Which device XGBoost will really use."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnnboost.errors import DeviceError

if TYPE_CHECKING:
    from xgboost import Booster

DEVICES = ("auto", "cpu", "cuda", "cuda:N")

_REMEDIES = {
    "gpu": "use device='cuda'",
    "gpu_hist": "XGBoost removed it; use device='cuda' (the trees are histogram trees on every device)",
}


class _Probe(NamedTuple):
    device: str
    found: str


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
    probe = _probe("cuda" if device == "auto" else device)
    if device in ("auto", probe.device) or (device == "cuda" and probe.device != "cpu"):
        return probe.device
    raise DeviceError(
        f"device={device!r} was demanded, but {probe.found}; use device='auto' or 'cpu', or make a GPU "
        "visible (see what nvidia-smi lists, and the CUDA_VISIBLE_DEVICES variable)"
    )


def used_device(booster: Booster) -> str:
    """Read from a booster's own configuration on which device it works."""
    device: str = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    return device


@functools.cache
def _probe(device: str) -> _Probe:
    """Train one round on `device` and see where it ran."""
    import xgboost

    version = f"XGBoost {xgboost.__version__}"
    if not xgboost.build_info().get("USE_CUDA", False):
        return _Probe("cpu", f"{version} was built without CUDA")
    # The fallback to the CPU is read from the configuration, so its warnings have nothing to add.
    with xgboost.config_context(verbosity=0):
        rows = xgboost.DMatrix(np.array([[0.0], [1.0]], dtype=np.float32), label=[0.0, 1.0])
        try:
            booster = xgboost.train({"device": device, "tree_method": "hist"}, rows, num_boost_round=1)
        except xgboost.core.XGBoostError as error:
            reason = str(error).strip().splitlines()[0]
            return _Probe("cpu", f"{version} cannot work on it: {reason}")
    used = used_device(booster)
    if used == "cpu":
        return _Probe(used, f"{version} was built with CUDA and finds no usable GPU here")
    return _Probe(used, f"{version} finds no GPU of that number and would take {used}")
