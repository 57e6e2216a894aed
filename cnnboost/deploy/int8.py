"""A graph whose convolutions count in 8-bit integers: about three times as fast, and no longer the same.

Weights become integers channel by channel, activations by the range that they take on some images (Jacob et
al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", CVPR
2018). Dense layers, the softmax and the trees stay as they are: they cost next to nothing.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import ModelError

if TYPE_CHECKING:
    import onnx

#: Training images on which the range of each activation is measured.
IMAGES = 512
_BATCH = 64
_OPERATIONS = ["Conv", "MaxPool", "Relu"]


def int8_graph(model: onnx.ModelProto, images: np.ndarray, name: str = "the graph") -> onnx.ModelProto:
    """Return a graph that does its convolutions in 8-bit integers.

    Parameters
    ----------
    model : onnx.ModelProto
        As `hybrid_graph` and `cnn_graph` make it; it stays as it is.
    images : ndarray of uint8, (n, height, width, channels)
        On which the range of each activation is measured; images that nothing is scored on.
    name : str
        Of the graph, for messages.

    Returns
    -------
    onnx.ModelProto
        With the same inputs and outputs.

    Raises
    ------
    ModelError
        If there is no convolution in it, or ONNX Runtime cannot express it.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise ModelError(f"{name} has no convolution, and only these are counted in 8-bit integers")

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(range(0, len(images), _BATCH))

        def get_next(self) -> dict[str, Any] | None:
            start = next(self.left, None)
            return None if start is None else {"image": np.ascontiguousarray(images[start : start + _BATCH])}

    draft = onnx.ModelProto()
    draft.CopyFrom(model)  # it is changed on the way
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                draft,
                path,
                Batches(),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                # Processors without instructions for 8-bit products add pairs of them in 16 bits, which
                # overflow; weights of 7 bits cannot, and give the same numbers everywhere.
                reduce_range=True,
                op_types_to_quantize=_OPERATIONS,
            )
            return onnx.load(path)
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ModelError(
                f"{name} cannot be expressed in 8-bit integers: {type(error).__name__}: "
                f"{reason[0] if reason else 'no reason given'}; export it without --int8"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep advice of ONNX Runtime's tools on graphs in general from whoever reads our own log."""
    log = logging.getLogger()
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
