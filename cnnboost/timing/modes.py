"""Hybrid and head in every mode as Python runs them, for the table of latencies.

`predict` is `keras.Model.predict` and a `DMatrix`, as people write it; `compiled` and `inplace` are what
`HybridClassifier` and `BoostClassifier` are made of. In `residual` and `blend` the trunk gives the network's
own probabilities along with the features, and what a head begins at has their logarithms in its last columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.timing.source import Run, Source

if TYPE_CHECKING:
    from cnnboost.hybrid.modes import FittedMode


def open_hybrid(source: Source, compiled: bool) -> Run:
    """Load a hybrid."""
    from cnnboost.images.views import mean_over_views

    of_one_view = (_at_trunk if source.mode == "plain" else _beside_softmax)(source, compiled)
    return of_one_view if source.tta == "none" else lambda X: mean_over_views(of_one_view, X, source.tta)


def open_head(source: Source, in_place: bool) -> Run:
    """Load a head."""
    head = _head(source)
    width = head.boost.n_features_in_
    judge = head if in_place else _by_matrix(head, source.threads)
    return lambda F: judge.predict_proba(F[:, :width], F[:, width:])


def keras_predict(model: Any, pixels: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return `Model.predict` as people call it, batches of 32 inside; pixels scaled if the model does not."""
    from cnnboost.cnn.inputs import scale_pixels

    def run(X: np.ndarray) -> list[np.ndarray]:
        x = X if pixels == "raw" else np.asarray(scale_pixels(X.astype(np.float32), pixels))
        predicted = model.predict(x, verbose=0)
        return list(predicted) if isinstance(predicted, (list, tuple)) else [predicted]

    return run


def _at_trunk(source: Source, compiled: bool) -> Run:
    """Plain trees see features alone: what the network has behind them is not run."""
    from cnnboost.cnn.inference import Inference
    from cnnboost.cnn.model_file import read_model
    from cnnboost.features.cut import Cut

    trunk = Cut(read_model(source.cnn)).trunk([source.layer])
    run = Inference(trunk, source.pixels) if compiled else keras_predict(trunk, source.pixels)
    head = open_head(source, in_place=compiled)
    return lambda X: head(run(X)[0])


def _beside_softmax(source: Source, compiled: bool) -> Run:
    """The other modes see the network's own probabilities too."""
    from cnnboost.cnn import CNNClassifier
    from cnnboost.hybrid.feature_extractor import FeatureExtractor

    eyes = FeatureExtractor(
        [CNNClassifier.load(source.cnn, pixels=source.pixels)], source.layers, source.norm
    )
    head = _head(source)
    if not compiled:
        eyes.run, head = keras_predict(eyes.trunk, source.pixels), _by_matrix(head, source.threads)
    return lambda X: head.predict_proba(*eyes(X))


def _head(source: Source) -> FittedMode:
    from cnnboost.boost import BoostClassifier
    from cnnboost.hybrid.modes import FittedMode

    boost = BoostClassifier.load(source.head)
    if source.threads:
        boost.booster_.set_param({"nthread": source.threads})
    return FittedMode(source.mode, boost, source.temperature, source.weight)


def _by_matrix(head: FittedMode, threads: int | None) -> FittedMode:
    """Put `DMatrix` and `Booster.predict` in the place of a head's trees."""
    import xgboost

    booster = head.boost.booster_

    class ByMatrix:
        def predict_proba(self, X: np.ndarray, base_margin: np.ndarray | None = None) -> np.ndarray:
            rows = xgboost.DMatrix(X, base_margin=base_margin, nthread=threads)
            found: np.ndarray = booster.predict(rows)
            return found

    trees: Any = ByMatrix()
    return replace(head, boost=trees)
