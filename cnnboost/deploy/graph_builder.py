"""GraphBuilder: an ONNX graph under construction, from uint8 images to labels and probabilities."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import ModelError

if TYPE_CHECKING:
    import onnx

#: Operators of 2023; every ONNX Runtime since 1.14 knows them.
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

    def add(self, operation: str, inputs: Sequence[str], name: str | None = None, **attributes: Any) -> str:
        """Add an operation with one output; return the name of the output."""
        from onnx import helper

        output = name or f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def float_image(self, image: str = IMAGE) -> str:
        """Add the conversion of uint8 pixels to float32."""
        return self.add("Cast", [image], to=1)

    def softmax(self, scores: str) -> str:
        """Add the softmax over the last axis."""
        return self.add("Softmax", [scores], axis=-1)

    def merge(self, graph: onnx.GraphProto) -> None:
        """Add all operations and constants of a graph, whose names must not occur here yet."""
        self._nodes.extend(graph.node)
        self._constants.update({constant.name: constant for constant in graph.initializer})

    def model(self, probabilities: str, n_classes: int) -> onnx.ModelProto:
        """Return the finished graph, whose outputs are the labels and the given probabilities."""
        from onnx import TensorProto, helper

        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [PROBABILITIES if name == probabilities else name for name in names]
        self.add("ArgMax", [PROBABILITIES], LABEL, axis=-1, keepdims=0)
        graph = helper.make_graph(
            self._nodes,
            "cnnboost",
            [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["batch", *self.shape])],
            [
                helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["batch"]),
                helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", n_classes]),
            ],
            list(self._constants.values()),
        )
        versions = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(
            graph, opset_imports=versions, ir_version=IR_VERSION, producer_name="cnnboost"
        )


@contextlib.contextmanager
def converting(what: str, remedy: str) -> Iterator[None]:
    """Run a converter without its output, and say what it could not convert."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (OSError, MemoryError):  # a full disk says nothing about the model
        raise
    except Exception as error:
        lines = str(error).split("Stack trace")[0].strip().splitlines()
        reason = lines[0] if lines else "no reason given"
        raise ModelError(f"{what}: {type(error).__name__}: {reason}; {remedy}") from error
    finally:
        logging.disable(level)
