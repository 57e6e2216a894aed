"""A trunk as an ONNX graph: features without TensorFlow, equal to Keras' up to rounding."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.deploy.graph_builder import IMAGE, GraphBuilder, simplify
from cnnboost.deploy.graph_file import (
    ENGINE_ERRORS,
    GraphFile,
    add_checksum,
    session_on,
    verify_checksum,
)
from cnnboost.deploy.slices import Slices
from cnnboost.errors import ModelError
from cnnboost.files import reason_of, while_used

if TYPE_CHECKING:
    from cnnboost.features.cut import CutLayer

RUNTIME = ("cnnboost", "onnxruntime", "numpy", "pillow")
"""Packages that decide about the last bits of features that a graph computes."""

MEDIAN, LARGEST = 1e-5, 1e-2
"""Of the differences to Keras, as shares of the largest feature of a layer: what rounding explains."""


def trunk_file(trunk: Any, places: Sequence[CutLayer], *, pixels: str, shape: Sequence[int]) -> bytes:
    """Export a trunk, with its checksum.

    Parameters
    ----------
    trunk : keras.Model
        One flat output for each place, as `Cut.trunk` builds it.
    places : sequence of CutLayer
    pixels : str
        Scale that the network expects.
    shape : sequence of int
        (height, width, channels) of the images.

    Returns
    -------
    bytes

    Raises
    ------
    ModelError
        If the network cannot be expressed in ONNX.
    """
    from cnnboost.deploy.network_graph import add_network

    builder = GraphBuilder(shape)
    images = builder.float_image()
    outputs = add_network(builder, trunk, images, pixels=pixels)
    model = builder.features(outputs, [place.width for place in places])
    simplify(model, images)
    return add_checksum(model.SerializeToString(deterministic=True))


class Graph:
    """An exported graph as a function from images to its outputs in floats: features, or probabilities.

    It runs on one thread, in slices of a fixed number of images, so that values do not depend on how many
    threads or processes there are.
    """

    def __init__(self, content: bytes) -> None:
        verify_checksum(content, "the exported network")
        try:
            session = session_on(content, 1)
        except ENGINE_ERRORS as error:
            raise ModelError(f"ONNX Runtime cannot read the exported network: {reason_of(error)}") from error
        self._run = session.run
        self._outputs = {
            node.name: int(node.shape[1]) for node in session.get_outputs() if node.type == "tensor(float)"
        }
        _, height, width, _ = session.get_inputs()[0].shape
        self._step = Slices.size(height * width)

    def __call__(self, X: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for images, uint8 (n, height, width, channels)."""
        found = [np.empty((len(X), width), np.float32) for width in self._outputs.values()]
        for start in range(0, len(X), self._step):
            try:
                outputs = self._run(list(self._outputs), {IMAGE: X[start : start + self._step]})
            except ENGINE_ERRORS as error:
                raise ModelError(f"the exported network cannot be run: {reason_of(error)}") from error
            for whole, part in zip(found, outputs, strict=True):
                whole[start : start + len(part)] = part
        return found


@functools.lru_cache(maxsize=2)
def opened(file: GraphFile) -> Graph:
    """Return the graph of a file; a worker opens it once for all of its tasks."""
    return Graph(file.read())


@contextmanager
def shared_graph(content: bytes, folder: Path) -> Iterator[GraphFile]:
    """Keep an exported graph in a file of its own for a while, for workers to open."""
    with while_used(folder.resolve() / "shared.onnx", content) as path:
        yield GraphFile(path, hashlib.sha256(content).hexdigest())


def check_features(
    content: bytes, keras: Sequence[np.ndarray], X: np.ndarray, places: Sequence[CutLayer]
) -> None:
    """Refuse an exported trunk whose features differ from Keras' by more than rounding.

    Parameters
    ----------
    content : bytes
        Of `trunk_file`.
    keras : sequence of ndarray, (n, width)
        What Keras computes of some images, at each place.
    X : ndarray of shape (n, height, width, channels), uint8
        These images.
    places : sequence of CutLayer

    Raises
    ------
    ModelError
        If they differ: the message says where, and by how much.
    """
    for place, ours, theirs in zip(places, Graph(content)(X), keras, strict=True):
        scale = float(np.abs(theirs).max()) or 1.0
        difference = np.abs(ours.astype(np.float64) - theirs) / scale
        median, largest = float(np.median(difference)), float(difference.max())
        if not (median <= MEDIAN and largest <= LARGEST):
            raise ModelError(
                f"the exported trunk differs from Keras at {place.name}: the median difference of features "
                f"is {median:.2g} of the largest feature (at most {MEDIAN:g} allowed), the largest "
                f"{largest:.2g} ({LARGEST:g}). Networks in half precision do so; extract without --dask"
            )
