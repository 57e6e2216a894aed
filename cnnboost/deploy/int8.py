"""A graph with convolutions in 8-bit integers: faster, and no longer exactly the same function.

Weights are quantised channel by channel, activations by the range that they take on some images (Jacob et
al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", CVPR
2018). Dense layers, the softmax and the trees stay as they are: they cost next to nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.deploy.graph_builder import IMAGE, converting, users_of
from cnnboost.errors import ModelError

if TYPE_CHECKING:
    import onnx

#: Training images on which the range of each activation is measured.
IMAGES = 512
_BATCH = 64
#: A convolution that reads fewer channels gains nothing from 8 bits.
_FEWEST_CHANNELS = 8
_OPERATIONS = ["Conv", "MaxPool", "Relu"]


def int8_graph(model: onnx.ModelProto, images: np.ndarray, name: str = "the graph") -> onnx.ModelProto:
    """Return a graph that computes its convolutions in 8-bit integers."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise ModelError(f"{name} has no convolution, and only convolutions are computed in 8-bit integers")

    starts = iter(range(0, len(images), _BATCH))

    class Batches(CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            start = next(starts, None)
            return None if start is None else {IMAGE: np.ascontiguousarray(images[start : start + _BATCH])}

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    excluded = _excluded(changed.graph)
    what = f"{name} cannot be expressed in 8-bit integers"
    with tempfile.TemporaryDirectory() as folder, converting(what, "export it without --int8"):
        path = Path(folder) / "int8.onnx"
        quantize_static(
            changed,
            path,
            Batches(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Processors without instructions for 8-bit products add pairs of them in 16 bits, which overflow;
            # weights of 7 bits cannot, and give the same numbers everywhere.
            reduce_range=True,
            op_types_to_quantize=_OPERATIONS,
            nodes_to_exclude=excluded,
        )
        return onnx.load(path)


def _excluded(graph: onnx.GraphProto) -> list[str]:
    """Name convolutions that stay in float32, and the ReLU and the pooling after them; reorder these two.

    A convolution stays where it reads fewer than 8 channels (of its group), as the first one reads the
    pixels, and where only a ReLU, then only a max pooling follow. Pooling moves before the ReLU, which gives
    the same for a quarter of the work: ONNX Runtime would otherwise quantise what is pooled, and pools
    integers slowly in this place.
    """
    channels = {value.name: value.dims[1] for value in graph.initializer if len(value.dims) == 4}
    users = users_of(graph)
    excluded = []
    for convolution in [node for node in graph.node if node.op_type == "Conv"]:
        chain = [convolution]
        for wanted in ("Relu", "MaxPool"):
            following = users.get(chain[-1].output[0], [])
            if len(following) == 1 and following[0].op_type == wanted:
                chain.append(following[0])
        wide = channels.get(convolution.input[1], _FEWEST_CHANNELS) >= _FEWEST_CHANNELS
        if wide or len(chain) < 3 or not all(node.name for node in chain):
            continue
        _, relu, pool = chain
        output, pooled = pool.output[0], f"{pool.name}_before_relu"
        pool.input[0], pool.output[0] = convolution.output[0], pooled
        relu.input[0], relu.output[0] = pooled, output
        graph.node.insert(list(graph.node).index(pool) + 1, relu)  # a copy
        graph.node.remove(relu)  # the first of both
        excluded += [node.name for node in chain]
    return excluded
