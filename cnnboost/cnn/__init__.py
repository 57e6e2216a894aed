"""ImageSet -> trained CNN."""

from cnnboost.cnn.classifier import CNNClassifier

__all__ = ["CNNClassifier"]
