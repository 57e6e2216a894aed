"""Hybrid and head in every mode as Python runs them, for the table of latencies.

`predict` is `keras.Model.predict` and a `DMatrix`, as people write it; `compiled` and `inplace` are what
`HybridClassifier` and `BoostClassifier` do. In `residual` and `blend` the trunk gives the network's own
probabilities along with the features, and what a head begins at has their logarithms in its last columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.timing.source import Run, Source

if TYPE_CHECKING:
    from cnnboost.hybrid.modes import FittedMode

Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]


def open_hybrid(source: Source, compiled: bool) -> Run:
    """Load a hybrid.

    Parameters
    ----------
    source : Source
    compiled : bool
        Whether by the traced trunk and `inplace_predict`.

    Returns
    -------
    callable
        From images to probabilities `(n, k)`.
    """
    if source.mode != "plain" or source.tta != "none":
        return _of_views(source, compiled)
    from cnnboost.cnn.inference import Inference
    from cnnboost.cnn.model_file import read_model
    from cnnboost.features.cut import Cut

    trunk = Cut(read_model(source.cnn)).trunk([source.layer])
    head = open_head(source, in_place=compiled)
    run = Inference(trunk, source.pixels) if compiled else keras_predict(trunk, source.pixels)
    return lambda X: head(run(X)[0])


def open_head(source: Source, in_place: bool) -> Run:
    """Load a head.

    Parameters
    ----------
    source : Source
    in_place : bool
        Whether by `inplace_predict`.

    Returns
    -------
    callable
        From features, in other modes than `plain` with the log-probabilities beside them, to probabilities.
    """
    judge = _judge(source, in_place)
    if source.mode == "plain":
        return lambda F: judge(F, F)
    width = _mode(source).boost.n_features_in_
    return lambda F: judge(F[:, :width], F[:, width:])


def keras_predict(model: Any, pixels: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return `Model.predict` as people call it, batches of 32 inside; pixels scaled if the model does not.

    Parameters
    ----------
    model : keras.Model
    pixels : {"raw", "unit", "symmetric"}

    Returns
    -------
    callable
        From images to a list of outputs.
    """
    from cnnboost.cnn.inputs import scale_pixels

    def run(X: np.ndarray) -> list[np.ndarray]:
        x = X if pixels == "raw" else np.asarray(scale_pixels(X.astype(np.float32), pixels))
        predicted = model.predict(x, verbose=0)
        return list(predicted) if isinstance(predicted, (list, tuple)) else [predicted]

    return run


def _of_views(source: Source, compiled: bool) -> Run:
    from cnnboost.cnn import CNNClassifier
    from cnnboost.hybrid import HybridClassifier
    from cnnboost.images.views import mean_over_views

    cnn = CNNClassifier.load(source.cnn, pixels=source.pixels)
    layers = (source.layer,) if source.mode == "plain" else source.layers
    hybrid = HybridClassifier.from_parts([cnn], layers, _mode(source), tta=source.tta, norm=source.norm)
    if compiled:
        return hybrid.predict_proba
    eyes, judge = hybrid.looks_, _judge(source, in_place=False)
    eyes.run = keras_predict(eyes.trunk, source.pixels)
    return lambda X: mean_over_views(lambda view: judge(*eyes(view)), X, source.tta)


def _mode(source: Source) -> FittedMode:
    from cnnboost.boost import BoostClassifier
    from cnnboost.hybrid.modes import FittedMode

    head = BoostClassifier.load(source.head)
    if source.threads:
        head.booster_.set_param({"nthread": source.threads})
    return FittedMode(source.mode, head, source.temperature, source.weight)


def _judge(source: Source, in_place: bool) -> Judge:
    """Return what gives probabilities for features and log-probabilities."""
    head = _mode(source)
    if in_place:
        return head.predict_proba
    import xgboost

    from cnnboost.hybrid.temperature import tempered

    booster, threads = head.boost.booster_, source.threads
    temperature, weight = np.float32(head.temperature), np.float32(head.weight)

    def judge(features: np.ndarray, log_proba: np.ndarray) -> np.ndarray:
        if head.mode == "residual":
            rows = xgboost.DMatrix(features, base_margin=log_proba / temperature, nthread=threads)
            return booster.predict(rows)
        trees: np.ndarray = booster.predict(xgboost.DMatrix(features, nthread=threads))
        if head.mode == "plain":
            return trees
        return weight * tempered(log_proba, head.temperature) + (1 - weight) * trees

    return judge
