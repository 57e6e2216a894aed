"""trunk + head as one: what a boosted head adds to the softmax that it replaces."""

from cnnboost.hybrid.classifier import HybridClassifier

__all__ = ["HybridClassifier"]
