"""hybrid, graph in 8-bit integers -> what that graph is scored by."""

from __future__ import annotations

import numpy as np

from cnnboost.deploy.graph import hybrid_graph, serialise
from cnnboost.deploy.int8 import IMAGES, int8_graph
from cnnboost.deploy.predictor import Predictor
from cnnboost.hybrid import HybridClassifier
from cnnboost.images import Split
from cnnboost.stages.hybrid_scores import Judged
from cnnboost.stages.hybrids import Hybrid


def measured_on(train: Split) -> np.ndarray:
    """Choose the training images on which the ranges of activations are measured: evenly, in their order."""
    return train.X[np.linspace(0, len(train) - 1, min(IMAGES, len(train))).astype(int)]


def int8_proba(content: bytes, hybrid: Hybrid, exact: Judged, train: Split, X: np.ndarray) -> np.ndarray:
    """Give the probabilities of images by a hybrid in 8-bit integers; no image decides about its own."""
    own = Predictor(content)
    if not exact.cross_fitted:
        return own.predict_proba(X)
    images, proba = measured_on(train), np.empty_like(exact.proba)
    whole = hybrid.classifier
    for rows, head in exact.heads:
        part = HybridClassifier.from_parts(
            whole.networks_, hybrid.head.layers, head, tta=hybrid.tta, norm=whole.norm
        )
        graph = int8_graph(hybrid_graph(part, X.shape[1:]), images)
        proba[rows] = Predictor(serialise(graph, own.details)).predict_proba(np.ascontiguousarray(X[rows]))
    return proba
