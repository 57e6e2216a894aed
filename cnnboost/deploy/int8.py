"""A graph whose convolutions count in 8-bit integers: made for speed, and no longer the same function.

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
#: Channels from which on a convolution gains from 8 bits.
_MANY = 8
_OPERATIONS = ["Conv", "MaxPool", "Relu"]


def int8_graph(model: onnx.ModelProto, images: np.ndarray, name: str = "the graph") -> onnx.ModelProto:
    """Return a graph that does its convolutions in 8-bit integers."""
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
    kept = _kept_in_float(draft.graph)
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
                nodes_to_exclude=kept,
            )
            return onnx.load(path)
        except (OSError, MemoryError):  # a full disk says nothing about the graph
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ModelError(
                f"{name} cannot be expressed in 8-bit integers: {type(error).__name__}: "
                f"{reason[0] if reason else 'no reason given'}; export it without --int8"
            ) from error


def _kept_in_float(graph: onnx.GraphProto) -> list[str]:
    """Name what is better left as it is: narrow convolutions, and the ReLU and the pooling after them.

    Narrow is one that reads fewer than 8 channels (of its group), as the first one reads the pixels: too few
    for products of 8 bits to pay. It is kept only where a ReLU, then a max pooling follow, and nothing else
    uses what passes between them. Pooling moves before the ReLU then, in this graph, which gives the same and
    is a quarter of the work for the latter: ONNX Runtime would otherwise turn into integers what is pooled,
    and pools those slowly in this place.
    """
    channels = {value.name: value.dims[1] for value in graph.initializer if len(value.dims) == 4}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    kept = []
    for first in [node for node in graph.node if node.op_type == "Conv"]:
        chain = [first]
        for wanted in ("Relu", "MaxPool"):
            after = users.get(chain[-1].output[0], [])
            if len(after) == 1 and after[0].op_type == wanted:
                chain.append(after[0])
        if channels.get(first.input[1], _MANY) >= _MANY or len(chain) < 3 or not all(n.name for n in chain):
            continue
        _, relu, pool = chain
        given, pooled = pool.output[0], f"{pool.name}_before_relu"
        pool.input[0], pool.output[0] = first.output[0], pooled
        moved = type(relu)()
        moved.CopyFrom(relu)
        moved.input[0], moved.output[0] = pooled, given
        graph.node.insert(list(graph.node).index(pool) + 1, moved)
        graph.node.remove(relu)
        kept += [node.name for node in chain]
    return kept


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
