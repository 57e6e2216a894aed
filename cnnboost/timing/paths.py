"""The paths from images to probabilities that are timed, each as its user would write it.

| path | what is called |
|---|---|
| `cnn/predict` | `keras.Model.predict` |
| `cnn/compiled` | `CNNClassifier.predict_proba`, a traced function |
| `cnn/onnx` | `Predictor` on the CNN's graph |
| `hybrid/predict` | `Model.predict` of the trunk, then `DMatrix` and `Booster.predict`: the published way |
| `hybrid/compiled` | the traced trunk, then `BoostClassifier.predict_proba` (`inplace_predict`) |
| `hybrid/onnx` | `Predictor` on the one graph of trunk and trees |
| `hybrid/plain-onnx` | the same file in a bare `onnxruntime.InferenceSession` |
| `head/dmatrix`, `head/inplace` | **head only**: the trees alone, on extracted features |
| `product/...` | not a path: a float32 matrix product, whose rate is the limit |

A bagged hybrid is the mean of its members on every path of its own; the paths of the CNN are those of its
first network. With test-time views, every path from images averages over them. In `residual` and `blend`, the
features of a head have the network's log-probabilities in their last columns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnnboost.errors import ParameterError
from cnnboost.images.views import mean_over_views

if TYPE_CHECKING:
    from cnnboost.hybrid.modes import FittedMode

CNN = ("cnn/predict", "cnn/compiled", "cnn/onnx")
HYBRID = ("hybrid/predict", "hybrid/compiled", "hybrid/onnx", "hybrid/plain-onnx")
HEAD = ("head/dmatrix", "head/inplace")
PATHS = (*CNN, *HYBRID, *HEAD)
#: Matrix products, each with the path in whose process it runs, as its library is loaded there.
PRODUCTS = {
    "product/numpy": "hybrid/plain-onnx",
    "product/onnxruntime": "hybrid/plain-onnx",
    "product/tensorflow": "cnn/compiled",
}
#: Images in one run of `hybrid/plain-onnx`; without slices, memory grows with the batch.
PLAIN_SLICE = 512

#: From images, or for a head from features, to probabilities `(n, k)`.
Run = Callable[[np.ndarray], np.ndarray]


class Source(NamedTuple):
    """The files and settings of a path; small, as it is sent to another process."""

    cnn: str
    head: str
    cnn_onnx: str
    hybrid_onnx: str
    layer: str
    pixels: str
    images: str
    features: str
    threads: int | None = None
    mode: str = "plain"
    layers: tuple[str, ...] = ()
    temperature: float = 1.0
    weight: float = 0.0
    norm: bool = False
    tta: str = "none"
    others: Sequence[Mapping[str, Any]] = ()
    """What is different of the other members of a bagged hybrid: files, temperature, weight."""

    def members(self) -> list[Source]:
        """Return one for each network with a head of its own."""
        alone = self._replace(others=())
        return [alone, *(alone._replace(**other) for other in self.others)]


def check_batches(batches: Sequence[int | str]) -> list[int | str]:
    """Refuse impossible batch sizes."""
    sizes: list[int | str] = []
    for batch in batches:
        text = str(batch).strip()
        if text != "all" and not (text.isascii() and text.isdigit() and int(text) > 0):
            raise ParameterError(f"batch {text!r}: give a number of images from 1, or 'all'")
        sizes.append("all" if text == "all" else int(text))
    if not sizes:
        raise ParameterError("name at least one batch size: a number of images, or 'all'")
    return sizes


def is_head_only(path: str) -> bool:
    """Tell whether a path begins at extracted features instead of images."""
    return path in HEAD


def latency_reference(path: str) -> str:
    """Return the path whose time is divided by this one's: it has the same input and output."""
    return next(paths[0] for paths in (CNN, HYBRID, HEAD) if path in paths)


def label_reference(path: str) -> str:
    """Return the path whose labels this one's should be."""
    return CNN[0] if path in CNN else HYBRID[0]


def open_path(path: str, source: Source) -> Run:
    """Load what a path needs; nothing else is imported."""
    family, runtime = path.split("/")
    if runtime == "onnx":
        from cnnboost.deploy.predictor import Predictor

        file = source.cnn_onnx if family == "cnn" else source.hybrid_onnx
        run: Run = Predictor.load(file, threads=source.threads).predict_proba
        return run
    if runtime == "plain-onnx":
        return _plain_onnx(source)
    if family == "head":
        return _open_head(source, in_place=runtime == "inplace")
    _limit_tensorflow(source.threads)
    open_network = _open_cnn if family == "cnn" else _open_hybrid
    return open_network(source, compiled=runtime == "compiled")


@functools.cache
def open_product(path: str, size: int, threads: int | None) -> Callable[[], Any]:
    """Return a square float32 matrix product of one of the libraries: 2 * size ** 3 operations."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, size, size), dtype=np.float32)
    library = path.split("/")[1]
    if library == "numpy":
        return lambda: a @ b
    if library == "tensorflow":
        import tensorflow as tf

        x, y = tf.constant(a), tf.constant(b)
        return lambda: tf.matmul(x, y).numpy()
    import onnx
    from onnx import helper

    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [size, size]) for name in "abc"]
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    graph = helper.make_graph(nodes, "product", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = _session(model.SerializeToString(), threads)
    return lambda: session.run(None, {"a": a, "b": b})


def _session(content: bytes, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _plain_onnx(source: Source) -> Run:
    session = _session(Path(source.hybrid_onnx).read_bytes(), source.threads)

    def run(X: np.ndarray) -> np.ndarray:
        parts = [
            session.run(["probabilities"], {"image": X[i : i + PLAIN_SLICE]})[0]
            for i in range(0, len(X), PLAIN_SLICE)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return run


def _limit_tensorflow(threads: int | None) -> None:
    import keras

    if threads and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def _open_cnn(source: Source, compiled: bool) -> Run:
    from cnnboost.cnn import CNNClassifier
    from cnnboost.cnn.interface import probabilities

    cnn = CNNClassifier.load(source.cnn, pixels=source.pixels).set_params(tta=source.tta)
    if compiled:
        return cnn.predict_proba
    predict, kind = _keras_predict(cnn.model_, source.pixels), cnn.output_kind_
    return lambda X: mean_over_views(lambda view: probabilities(predict(view)[0], kind), X, source.tta)


def _open_hybrid(source: Source, compiled: bool) -> Run:
    """Load a hybrid whose trunk gives no more than its head needs."""
    if source.others:
        runs = [_open_hybrid(member, compiled) for member in source.members()]
        return lambda X: _mean_of([run(X) for run in runs])
    from cnnboost.cnn import CNNClassifier
    from cnnboost.cnn.inference import Inference
    from cnnboost.cnn.model_file import read_model
    from cnnboost.features.cut import Cut
    from cnnboost.hybrid.feature_extractor import FeatureExtractor

    if source.mode == "plain":
        trunk = Cut(read_model(source.cnn)).trunk([source.layer])
        run = Inference(trunk, source.pixels) if compiled else _keras_predict(trunk, source.pixels)
        trees = _open_head(source, in_place=compiled)
        return lambda X: mean_over_views(lambda view: trees(run(view)[0]), X, source.tta)
    cnn = CNNClassifier.load(source.cnn, pixels=source.pixels)
    extractor, head = FeatureExtractor([cnn], source.layers, source.norm), _head(source)
    if not compiled:
        extractor.runs[0] = _keras_predict(extractor.trunk, source.pixels)
        head = _with_dmatrix(head, source.threads)
    return lambda X: mean_over_views(lambda view: head.predict_proba(*extractor(view)), X, source.tta)


def _mean_of(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(probabilities).mean(axis=0, dtype=np.float32)


def _open_head(source: Source, in_place: bool) -> Run:
    """Load a head; the features of the members of a bagged hybrid are side by side."""
    if source.others:
        heads = [_open_head(member, in_place) for member in source.members()]

        def run(F: np.ndarray) -> np.ndarray:
            parts = np.split(F, len(heads), axis=1)
            return _mean_of([head(part) for head, part in zip(heads, parts, strict=True)])

        return run
    head = _head(source)
    width = head.boost.n_features_in_
    if not in_place:
        head = _with_dmatrix(head, source.threads)
    return lambda F: head.predict_proba(F[:, :width], F[:, width:])


def _keras_predict(model: Any, pixels: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return `Model.predict` as people call it, in batches of 32; pixels scaled if the model does not."""
    from cnnboost.cnn.inputs import scale_pixels

    def run(X: np.ndarray) -> list[np.ndarray]:
        x = X if pixels == "raw" else np.asarray(scale_pixels(X.astype(np.float32), pixels))
        predicted = model.predict(x, verbose=0)
        return list(predicted) if isinstance(predicted, (list, tuple)) else [predicted]

    return run


def _head(source: Source) -> FittedMode:
    from cnnboost.boost import BoostClassifier
    from cnnboost.hybrid.modes import FittedMode

    boost = BoostClassifier.load(source.head)
    if source.threads:
        boost.booster_.set_param({"nthread": source.threads})
    return FittedMode(source.mode, boost, source.temperature, source.weight)


def _with_dmatrix(head: FittedMode, threads: int | None) -> FittedMode:
    """Evaluate a head's trees by `DMatrix` and `Booster.predict`, as people write it."""
    import xgboost

    booster = head.boost.booster_

    def predict(X: np.ndarray, base_margin: np.ndarray | None = None) -> Any:
        return booster.predict(xgboost.DMatrix(X, base_margin=base_margin, nthread=threads))

    trees: Any = SimpleNamespace(predict_proba=predict)
    return replace(head, boost=trees)
