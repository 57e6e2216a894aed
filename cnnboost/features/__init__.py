"""CNN -> features."""

from cnnboost.features.cut import Cut, CutLayer
from cnnboost.features.extractor import CNNFeatures
from cnnboost.features.feature_parts import FeatureParts

__all__ = ["CNNFeatures", "Cut", "CutLayer", "FeatureParts"]
