"""Cut a trained Keras CNN, train XGBoost on its features, and measure what that bought.

The public names are loaded when they are first used: importing `cnnboost` imports neither TensorFlow nor
XGBoost.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cnnboost.boost import BoostClassifier
    from cnnboost.cnn import CNNClassifier
    from cnnboost.deploy.onnx import export_onnx
    from cnnboost.deploy.predictor import Predictor
    from cnnboost.faces.find import find_faces
    from cnnboost.features import CNNFeatures
    from cnnboost.features.feature_parts import FeatureParts
    from cnnboost.hybrid import HybridClassifier
    from cnnboost.images import ImageSet, load_images

_ROOMS = {
    "BoostClassifier": "cnnboost.boost",
    "CNNClassifier": "cnnboost.cnn",
    "CNNFeatures": "cnnboost.features",
    "FeatureParts": "cnnboost.features.feature_parts",
    "HybridClassifier": "cnnboost.hybrid",
    "ImageSet": "cnnboost.images",
    "Predictor": "cnnboost.deploy.predictor",
    "export_onnx": "cnnboost.deploy.onnx",
    "find_faces": "cnnboost.faces.find",
    "load_images": "cnnboost.images",
}

__all__ = [
    "BoostClassifier",
    "CNNClassifier",
    "CNNFeatures",
    "FeatureParts",
    "HybridClassifier",
    "ImageSet",
    "Predictor",
    "__version__",
    "export_onnx",
    "find_faces",
    "load_images",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'cnnboost' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
