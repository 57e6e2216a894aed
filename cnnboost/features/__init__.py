"""CNN -> features."""

from cnnboost.features.cut import Cut, CutLayer
from cnnboost.features.extractor import CNNFeatures

__all__ = ["CNNFeatures", "Cut", "CutLayer"]
