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
| `head/dmatrix`, `head/inplace` | **head only**: the trees alone, on ready features |
| `product/...` | no path: a float32 matrix product, whose rate is the limit |

With test-time views, every path from images averages over them. For the modes `residual` and `blend` see
`cnnboost.timing.modes`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.timing import modes
from cnnboost.timing.source import Run, Source

PREDICT, COMPILED, ONNX, PLAIN_ONNX = "predict", "compiled", "onnx", "plain-onnx"
CNN = ("cnn/predict", "cnn/compiled", "cnn/onnx")
HYBRID = ("hybrid/predict", "hybrid/compiled", "hybrid/onnx", "hybrid/plain-onnx")
HEAD = ("head/dmatrix", "head/inplace")
PATHS = (*CNN, *HYBRID, *HEAD)
PRODUCTS = {
    "product/numpy": "hybrid/plain-onnx",
    "product/onnxruntime": "hybrid/plain-onnx",
    "product/tensorflow": "cnn/compiled",
}
"""Matrix products, each with the path in whose process it runs: there its library is loaded already."""

PLAIN_SLICE = 512
"""Images in one run of `hybrid/plain-onnx`: a loop needs some slice, or memory grows with the batch."""


def family(path: str) -> str:
    """Return `cnn`, `hybrid`, `head` or `product`."""
    return path.split("/")[0]


def is_head_only(path: str) -> bool:
    """Tell whether a path begins at ready features instead of images."""
    return family(path) == "head"


def latency_reference(path: str) -> str:
    """Return the path whose time is divided by this one's: what starts and ends at the same place."""
    return {"cnn": CNN[0], "hybrid": HYBRID[0], "head": HEAD[0]}[family(path)]


def label_reference(path: str) -> str:
    """Return the path whose labels this one's should be."""
    return CNN[0] if family(path) == "cnn" else HYBRID[0]


def open_path(path: str, source: Source) -> Run:
    """Load what a path needs; nothing else is imported."""
    name, runtime = path.split("/")
    if runtime == ONNX:
        from cnnboost.deploy.predictor import Predictor

        file = source.cnn_onnx if name == "cnn" else source.hybrid_onnx
        run: Run = Predictor.load(file, threads=source.threads).predict_proba
        return run
    if runtime == PLAIN_ONNX:
        return _plain_onnx(source)
    if name == "head":
        return modes.open_head(source, in_place=runtime == "inplace")
    _limit_tensorflow(source.threads)
    if name == "cnn":
        return _cnn(source, compiled=runtime == COMPILED)
    return modes.open_hybrid(source, compiled=runtime == COMPILED)


def _cnn(source: Source, compiled: bool) -> Run:
    from cnnboost.cnn import CNNClassifier
    from cnnboost.cnn.interface import probabilities
    from cnnboost.images.views import mean_over_views

    cnn = CNNClassifier.load(source.cnn, pixels=source.pixels).set_params(tta=source.tta)
    if compiled:
        return cnn.predict_proba
    predict, kind = modes.keras_predict(cnn.model_, source.pixels), cnn.output_kind_
    return lambda X: mean_over_views(lambda view: probabilities(predict(view)[0], kind), X, source.tta)


def _plain_onnx(source: Source) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if source.threads:
        options.intra_op_num_threads = source.threads
    session = onnxruntime.InferenceSession(
        Path(source.hybrid_onnx).read_bytes(), options, providers=["CPUExecutionProvider"]
    )

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


def open_product(path: str, size: int, threads: int | None) -> Callable[[], Any]:
    """Make a square float32 matrix product, 2 * size ** 3 operations, out of one of the libraries."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, size, size), dtype=np.float32)
    library = path.split("/")[1]
    if library == "numpy":
        return lambda: a @ b
    if library == "tensorflow":
        import tensorflow as tf

        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        x, y = tf.constant(a), tf.constant(b)
        return lambda: tf.matmul(x, y).numpy()
    import onnx
    import onnxruntime
    from onnx import helper

    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [size, size]) for name in "abc"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product", values[:2], values[2:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"a": a, "b": b})
