"""CNN -> features.

The public names are loaded when they are first used: the store and its parts, which workers of a cluster
load, need neither scikit-learn nor a network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnboost.features.cut import Cut, CutLayer
    from cnnboost.features.extractor import CNNFeatures
    from cnnboost.features.feature_parts import FeatureParts

__all__ = ["CNNFeatures", "Cut", "CutLayer", "FeatureParts"]

_FILES = {"CNNFeatures": "extractor", "Cut": "cut", "CutLayer": "cut", "FeatureParts": "feature_parts"}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
