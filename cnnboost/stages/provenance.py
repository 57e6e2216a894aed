"""What a result was made with: versions and machine, no names of places or people."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cnnboost.config import Recipe

_PACKAGES = ("cnnboost", "tensorflow", "keras", "xgboost", "scikit-learn", "numpy", "onnx", "onnxruntime")


def made_with(recipe: Recipe) -> dict[str, Any]:
    """Return what every document of results ends with."""
    return {"recipe_facts": recipe.model_dump(mode="json"), "machine": machine(), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """Return what matters of the machine for times."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "model": _processor(),
        "cores": cores,
    }


def _processor() -> str:
    """Return the processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
