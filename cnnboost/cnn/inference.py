"""Running a Keras model on images: traced once, always in inference mode.

`keras.Model.predict` builds a data pipeline on every call, which costs a single image a hundred times what
its arithmetic does. Here a model is traced for any number of images, and run on chunks of a few sizes; the
last chunk of a batch is padded, so that 10,000 calls use the memory of one.

Only this file and `_in_batches` of `training.py` depend on the backend of Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cnnboost.cnn.inputs import check_fits, scale_pixels
from cnnboost.errors import ModelError
from cnnboost.images.pixels import CHUNKS, largest_chunk


class Inference:
    """A Keras model as a function from images to arrays."""

    def __init__(self, model: Any, pixels: str = "raw") -> None:
        self.model = model
        self.input_shape = tuple(model.input_shape[1:])
        self.n_outputs = len(model.outputs)
        self._pixels = pixels
        self._traced: dict[tuple[str, tuple[int, ...]], Callable[[np.ndarray], list[np.ndarray]]] = {}

    def __call__(self, X: np.ndarray) -> list[np.ndarray]:
        """Run the model on a batch of any size."""
        check_fits(X, self.input_shape)
        results: list[np.ndarray] | None = None
        for start, size, chunk in plan(len(X), largest_chunk(X.shape[1:])):
            outputs = self._run(X[start : start + size], chunk)
            if size == len(X):
                return [out[:size] for out in outputs]
            if results is None:
                results = [np.empty((len(X), *out.shape[1:]), np.float32) for out in outputs]
            for result, out in zip(results, outputs, strict=True):
                result[start : start + size] = out[:size]
        assert results is not None, "check_images lets no empty batch through"
        return results

    def _run(self, part: np.ndarray, chunk: int) -> list[np.ndarray]:
        if len(part) < chunk:
            padding = np.zeros((chunk - len(part), *part.shape[1:]), part.dtype)
            part = np.concatenate([part, padding])
        key = (part.dtype.str, part.shape[1:])
        if key not in self._traced:
            self._traced[key] = _trace(self.model, self._pixels, part.shape[1:], part.dtype)
        outputs = self._traced[key](np.ascontiguousarray(part))
        for out in outputs:
            if len(out) != chunk:
                raise ModelError(
                    f"model {self.model.name!r} gives {len(out)} rows for {chunk} images: one of its "
                    "layers gives other shapes than it states"
                )
        return outputs


def plan(n: int, largest: int = CHUNKS[-1]) -> Iterator[tuple[int, int, int]]:
    """Divide n images into chunks: (first row, rows, size of the chunk), the last one padded."""
    for start in range(0, n, largest):
        size = min(largest, n - start)
        yield start, size, next(chunk for chunk in CHUNKS if chunk >= size)


def _trace(
    model: Any, pixels: str, shape: tuple[int, ...], dtype: np.dtype
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Compile the model for images of one shape on whatever backend Keras runs."""
    import keras

    def forward(x: Any) -> Any:
        found = model(scale_pixels(keras.ops.cast(x, "float32"), pixels), training=False)
        return [keras.ops.cast(out, "float32") for out in keras.tree.flatten(found)]

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(forward, autograph=False, reduce_retracing=False)
        traced = function.get_concrete_function(tf.TensorSpec((None, *shape), tf.as_dtype(dtype)))
        return lambda x: [out.numpy() for out in traced(tf.constant(x))]
    if backend == "jax":
        import jax

        @jax.jit
        def stateless(trainable: Any, fixed: Any, x: Any) -> Any:
            x = scale_pixels(keras.ops.cast(x, "float32"), pixels)
            found = model.stateless_call(trainable, fixed, x, training=False)[0]
            return [keras.ops.cast(out, "float32") for out in keras.tree.flatten(found)]

        def run(x: np.ndarray) -> list[np.ndarray]:
            trainable = [v.value for v in model.trainable_variables]
            fixed = [v.value for v in model.non_trainable_variables]
            return [np.asarray(out) for out in stateless(trainable, fixed, x)]

        return run
    return lambda x: [keras.ops.convert_to_numpy(out) for out in forward(x)]
