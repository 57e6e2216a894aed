"""GraphBuilder: an ONNX graph that is being put together, from uint8 images to labels and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

#: Operators of 2023 and later; every ONNX Runtime since 1.14 knows them.
OPSET = 18
#: The version of `ai.onnx.ml` whose tree ensembles onnxmltools writes.
ML_OPSET = 3
IR_VERSION = 8
IMAGE, LABEL, PROBABILITIES = "image", "label", "probabilities"


class GraphBuilder:
    """Operations and constants of a graph whose input is `image`."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(int(size) for size in shape)
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._width = 0

    def add(
        self,
        operation: str,
        inputs: Sequence[str],
        name: str | None = None,
        domain: str = "",
        **metadata: Any,
    ) -> str:
        """Add an operation with one output."""
        from onnx import helper

        output = name or f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [output], domain=domain, **metadata))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def softmax(self, scores: str) -> str:
        """Add the softmax over the last axis."""
        return self.add("Softmax", [scores], axis=-1)

    def take_in(self, graph: onnx.GraphProto) -> None:
        """Add all operations and constants of a graph; its names must be its own."""
        self._nodes.extend(graph.node)
        self._constants.update({constant.name: constant for constant in graph.initializer})

    def finish(self, probabilities: str, n_classes: int) -> None:
        """State what the probabilities are, and add the labels."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [PROBABILITIES if name == probabilities else name for name in names]
        self.add("ArgMax", [PROBABILITIES], LABEL, axis=-1, keepdims=0)
        self._width = n_classes

    def model(self) -> onnx.ModelProto:
        """Return the graph as a model, as it stands."""
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "cnnboost",
            [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["batch", *self.shape])],
            [
                helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["batch"]),
                helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", self._width]),
            ],
            list(self._constants.values()),
        )
        versions = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(
            graph, opset_imports=versions, ir_version=IR_VERSION, producer_name="cnnboost"
        )
