"""One ONNX file from a fitted estimator, for those who work in Python and need no bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from cnnboost.boost import BoostClassifier
from cnnboost.cnn import CNNClassifier
from cnnboost.deploy.graph import cnn_graph, hybrid_graph, trunk_graph
from cnnboost.deploy.graph_file import FORMAT, serialise
from cnnboost.deploy.int8 import IMAGES as CALIBRATED
from cnnboost.deploy.int8 import int8_graph
from cnnboost.deploy.parity import check_parity, limits_of
from cnnboost.errors import DataError, ModelError
from cnnboost.features.cut import Cut
from cnnboost.features.extractor import CNNFeatures
from cnnboost.files import write_bytes
from cnnboost.hybrid import HybridClassifier
from cnnboost.hybrid.feature_extractor import layers_name
from cnnboost.hybrid.modes import described
from cnnboost.images.decode import InputSpec
from cnnboost.images.views import TTA

if TYPE_CHECKING:
    import onnx


def export_onnx(
    estimator: Any, path: str | os.PathLike[str], images: np.ndarray, *, int8: bool = False
) -> Path:
    """Write a fitted CNN or hybrid as one ONNX graph, if that graph agrees with it on some images.

    Parameters
    ----------
    estimator : CNNClassifier, HybridClassifier or Pipeline
        Fitted; a pipeline is one of `CNNFeatures` and `BoostClassifier` and nothing between them. A
        `HybridClassifier` keeps its mode, its networks and its test-time views.
    path : path-like
        The `.onnx` file; written whole or not at all.
    images : ndarray of shape (n, height, width, channels), uint8
        Images to compare on, in batches of 1, 7 and 256 (smaller ones with several views); a thousand are
        enough.
    int8 : bool, default=False
        Compute the convolutions in 8-bit integers: faster, and only the labels of most images need agree.
        The ranges of activations are measured on the images, so give some that nothing is scored on.

    Returns
    -------
    Path

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    DataError
        If the images are not uint8, or none are given.
    ModelError
        If the estimator is none of these, cannot be expressed in ONNX, or the graph differs from it; the
        message says by how much.
    ParameterError
        If images of this size are too small for the hybrid's test-time views.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures
    >>> X, y = load_digits(return_X_y=True)
    >>> X = (X[:300] * (255 / 16)).astype("uint8").reshape(-1, 8, 8, 1)
    >>> cnn = CNNClassifier("digits", epochs=1).fit(X, y[:300])
    >>> hybrid = make_pipeline(CNNFeatures(cnn), BoostClassifier(n_estimators=3)).fit(X, y[:300])
    >>> import tempfile
    >>> export_onnx(hybrid, tempfile.mkdtemp() + "/hybrid.onnx", X).name
    'hybrid.onnx'

    Trees boosted from the CNN's probabilities, and the mean over each image and its mirror image:

    >>> from cnnboost import HybridClassifier
    >>> better = HybridClassifier(cnn, mode="residual", tta="flip").fit(X, y[:300])
    >>> export_onnx(better, tempfile.mkdtemp() + "/better.onnx", X).name
    'better.onnx'
    """
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    if isinstance(estimator, Pipeline) and len(estimator.steps) == 1:
        estimator = estimator.steps[0][1]
    check_is_fitted(estimator)
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise DataError(
            f"images to compare on must be uint8 (n, height, width, channels), got {images.dtype} "
            f"{images.shape}"
        )
    path = Path(path)
    graph, metadata, models = _graph(estimator, images.shape[1:])
    if int8:
        graph, metadata["int8"] = int8_graph(graph, images[:CALIBRATED], str(path)), True
    spec = InputSpec(*images.shape[1:])
    metadata |= {"format": FORMAT, "recipe": None, "input": spec._asdict(), "native": {}}
    content = serialise(graph, {**metadata, "classes": estimator.classes_.tolist()})
    check_parity(
        content, images, estimator.predict_proba(images),
        name=str(path), views=TTA[metadata.get("tta", "none")], limits=limits_of(models, int8=int8),
    )  # fmt: skip
    return write_bytes(path, content)


def _graph(estimator: Any, shape: tuple[int, ...]) -> tuple[onnx.ModelProto, dict[str, Any], list[Any]]:
    """Return the graph of an estimator, its metadata, and its Keras models."""
    if isinstance(estimator, CNNClassifier):
        pixels, tta, models = estimator.pixels_, estimator.tta, [estimator.model_]
        metadata: dict[str, Any] = {"kind": "cnn", "layer": None, "mode": None, "rounds": None, "tta": tta}
        graph = cnn_graph(models[0], pixels=pixels, kind=estimator.output_kind_, shape=shape, tta=tta)
    elif isinstance(estimator, HybridClassifier):
        heads = [one.head_ for one in estimator.members_ or [estimator]]
        layers = (estimator.members_ or [estimator])[0].extractor_.layers
        metadata = {
            "kind": "hybrid",
            "layer": layers_name(layers),
            "layers": layers,
            "mode": heads[0].mode,
            "rounds": sum(head.boost.n_estimators_ for head in heads),
            "tta": estimator.tta,
            "networks": len(estimator.networks_),
            "norm": bool(estimator.norm and layers),
            **described(heads),
        }
        pixels, models = estimator.networks_[0].pixels_, [network.model_ for network in estimator.networks_]
        graph = hybrid_graph(estimator, shape)
    else:
        features, boost = _steps(estimator)
        metadata = {"kind": "hybrid", "layer": features.layer, "mode": "plain", "rounds": boost.n_estimators_}
        pixels, models = features.pixels_, [features.model_]
        trunk = Cut(features.model_).trunk([features.layer])
        n_classes = len(boost.classes_)
        graph = trunk_graph(trunk, boost.booster_, pixels=pixels, shape=shape, n_classes=n_classes)
    return graph, {**metadata, "pixels": pixels}, models


def _steps(estimator: Any) -> tuple[CNNFeatures, BoostClassifier]:
    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else []
    steps = [step.estimator if isinstance(step, FrozenEstimator) else step for step in steps]
    if len(steps) != 2 or not isinstance(steps[0], CNNFeatures) or not isinstance(steps[1], BoostClassifier):
        raise ModelError(
            f"{type(estimator).__name__} cannot be exported; give a CNNClassifier, a HybridClassifier, or a "
            "pipeline of CNNFeatures and BoostClassifier"
        )
    return steps[0], steps[1]
