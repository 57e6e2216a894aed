"""The epochs of a network that is one dense layer on its pixels, in NumPy.

A step of such a network is two products of a batch with a matrix of a few columns. TensorFlow's kernels for
them, and what it takes to start each operation, cost a multiple of the arithmetic; here a second thread
fetches the images of the next steps, and nothing is done but the arithmetic. Order of the images, loss,
optimiser and its learning rate are those of the training through Keras, and so are the weights, up to the
rounding of sums.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from cnnboost.cnn.batches import Batches
from cnnboost.cnn.options import TrainingOptions

_AHEAD = 2
"""Batches that are fetched while the network learns from one."""
_LARGEST = 1 << 24
"""Most pixels in a batch: it is held a few times, as float32."""
_FLOOR = np.float32(-60)
"""Lowest logarithm of a share that is told from 0."""
_SMALL = 10**6
"""Multiplications up to which OpenBLAS takes a product as it is; it rearranges what larger ones read."""

_Images = tuple[np.ndarray, np.ndarray]
_Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


class SoftmaxRegression:
    """A network of one dense layer with a softmax, in training by plain gradient descent."""

    def __init__(self, model: Any, feed: Batches, batch_size: int) -> None:
        import keras

        self._model, self._feed, self._size = model, feed, batch_size
        self._dense = model.layers[-1]
        scaling = next((layer for layer in model.layers if type(layer) is keras.layers.Rescaling), None)
        self._scale = np.float32(scaling.scale if scaling else 1)
        self._offset = np.float32(scaling.offset if scaling else 0)
        self._scaled = self._scale != 1 or self._offset != 0
        self._images = feed.X.reshape(len(feed.X), -1)

    @classmethod
    def of(cls, model: Any, feed: Batches, options: TrainingOptions) -> SoftmaxRegression | None:
        """Return the training of a model if it is one of these, all steps of an epoch at once."""
        usual = (
            options.steps_per_execution >= feed.steps
            and feed.plain
            and feed.targets.ndim == 1
            and options.batch_size * feed.X[0].size <= _LARGEST
            and (options.loss, options.label_smoothing, options.precision) == ("crossentropy", 0, "float32")
            and options.monitor in (None, "loss", "val_loss")
        )
        return (
            cls(model, feed, options.batch_size)
            if usual and _is_one_layer(model) and _is_plain(model, options)
            else None
        )

    def fit(
        self,
        *,
        epochs: int,
        initial_epoch: int,
        validation_data: _Images | None,
        validation_freq: int,
        callbacks: Sequence[Any],
    ) -> None:
        """Train as `keras.Model.fit` does, which has the same parameters."""
        import keras
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        model, steps = self._model, self._feed.steps
        model.optimizer.build(model.trainable_variables)
        model.stop_training = False
        told = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs, steps=steps)
        told.on_train_begin()
        logs: dict[str, float] = {}
        # One thread for each product: it is too small for two, and the sums are the same on every machine.
        with threadpool_limits(1, "blas"), self._batches(initial_epoch, epochs) as batches:
            for epoch in range(initial_epoch, epochs):
                told.on_epoch_begin(epoch)
                told.on_train_batch_begin(0)
                logs = self._epoch(epoch, batches)
                told.on_train_batch_end(steps - 1, logs)
                if validation_data is not None and (epoch + 1) % validation_freq == 0:
                    told.on_test_begin()
                    scores = self._scores(*validation_data)
                    told.on_test_end(scores)
                    logs |= {f"val_{name}": value for name, value in scores.items()}
                told.on_epoch_end(epoch, logs)
                if model.stop_training:
                    break
        told.on_train_end(logs)

    def _epoch(self, epoch: int, batches: Iterator[_Batch]) -> dict[str, float]:
        """Take the steps of an epoch, and return the means of what they saw."""
        feed, optimizer = self._feed, self._model.optimizer
        weights, bias = self._weights()
        rate, scale, offset = float(optimizer.learning_rate), self._scale, self._offset
        logits, gradient = np.empty((len(weights), feed.length), np.float32), np.empty_like(weights)
        parts = _parts(len(weights), self._size * weights.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, feed.length, self._size):
                rows, x, wanted = next(batches)
                z = np.empty_like(wanted)
                for part in parts:
                    np.matmul(weights[part], x.T, out=z[part])
                if self._scaled:
                    z = scale * z + (offset * weights.sum(axis=1))[:, None]
                z += bias[:, None]
                logits[:, first : first + len(x)] = z
                z -= z.max(axis=0)
                # What is less changes no sum, and denormal numbers cost many times the time of others.
                np.exp(np.maximum(z, _FLOOR, out=z), out=z)
                z /= z.sum(axis=0)
                z -= wanted
                if feed.weight is not None:
                    z *= feed.weight[rows]
                for part in parts:
                    np.matmul(z[part], x, out=gradient[part])
                down = z.sum(axis=1)
                if self._scaled:
                    gradient = scale * gradient + (offset * down)[:, None]
                step = np.float32(rate / len(x))
                gradient *= step
                weights -= gradient
                bias -= step * down
        self._dense.kernel.assign(weights.T)
        self._dense.bias.assign(bias)
        optimizer.iterations.assign(int(optimizer.iterations) + feed.steps)
        shown = feed.rows(epoch)
        return _means(logits, feed.targets[shown], None if feed.weight is None else feed.weight[shown])

    def _scores(self, X: np.ndarray, codes: np.ndarray) -> dict[str, float]:
        """Return loss and accuracy on images."""
        weights, bias = self._weights()
        rows, logits = X.reshape(len(X), -1), np.empty((len(bias), len(X)), np.float32)
        for first in range(0, len(rows), self._size):
            x = rows[first : first + self._size].astype(np.float32) * self._scale + self._offset
            logits[:, first : first + len(x)] = weights @ x.T + bias[:, None]
        return _means(logits, codes)

    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights, a row for each class, and the bias, as they are now."""
        from keras.ops import convert_to_numpy

        kernel = np.array(convert_to_numpy(self._dense.kernel).T, order="C")
        return kernel, np.array(convert_to_numpy(self._dense.bias))

    @contextmanager
    def _batches(self, epoch: int, stop: int) -> Iterator[Iterator[_Batch]]:
        """Give rows, pixels and wanted shares (classes, n) step by step; the pixels last for one step."""
        feed, shape = self._feed, (self._size, self._images.shape[1])
        pixels = [np.empty(shape, np.float32) for _ in range(_AHEAD + 1)]
        found, shares = np.empty(shape, self._images.dtype), np.eye(self._dense.units, dtype=np.float32)

        def fetch(epoch: int, first: int, turn: int) -> _Batch:
            rows = feed.rows(epoch)[first : first + self._size]
            # No row is out of bounds; asked to make sure, NumPy would copy once more.
            np.take(self._images, rows, axis=0, out=found[: len(rows)], mode="clip")
            np.copyto(pixels[turn][: len(rows)], found[: len(rows)])
            return rows, pixels[turn][: len(rows)], np.take(shares, feed.targets[rows], axis=1)

        def ordered() -> Iterator[_Batch]:
            asked = deque[Future[_Batch]]()
            starts = ((e, first) for e in range(epoch, stop) for first in range(0, feed.length, self._size))
            for number, start in enumerate(starts):
                asked.append(pool.submit(fetch, *start, number % len(pixels)))
                if len(asked) > _AHEAD:
                    yield asked.popleft().result()
            while asked:
                yield asked.popleft().result()

        with ThreadPoolExecutor(1, thread_name_prefix="images") as pool:
            try:
                yield ordered()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _is_one_layer(model: Any) -> bool:
    """Whether a model is the pixels, scaled or not, in a row, and one dense layer with a softmax."""
    import keras

    layers = keras.layers
    stack = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    kinds = [type(layer) for layer in stack]
    if kinds not in ([layers.Flatten, layers.Dense], [layers.Rescaling, layers.Flatten, layers.Dense]):
        return False
    dense = stack[-1]
    own = (
        "kernel_regularizer",
        "bias_regularizer",
        "activity_regularizer",
        "kernel_constraint",
        "bias_constraint",
    )
    return (
        dense.activation is keras.activations.softmax
        and dense.use_bias
        and all(layer.trainable and layer.dtype_policy.name == "float32" for layer in stack)
        and stack[-2].data_format == "channels_last"
        and all(getattr(dense, name) is None for name in own)
        and all(np.ndim(of) == 0 for layer in stack[:-2] for of in (layer.scale, layer.offset))
    )


def _is_plain(model: Any, options: TrainingOptions) -> bool:
    """Whether the optimiser is gradient descent without more, at a rate that holds for an epoch."""
    import keras

    optimizer = model.optimizer
    if type(optimizer) is not keras.optimizers.SGD or options.decay:
        return False
    config, usual = optimizer.get_config(), keras.optimizers.SGD().get_config()
    apart = {"name", "learning_rate"}
    holds = options.schedule == "step" or isinstance(config["learning_rate"], float)
    return holds and all(config[name] == usual[name] for name in config.keys() - apart)


def _parts(classes: int, each: int) -> list[slice]:
    """Divide the classes so that each product is small; where one alone is not, they stay together."""
    count = _SMALL // each if _SMALL // each > 1 else classes
    return [slice(first, min(first + count, classes)) for first in range(0, classes, count)]


def _means(logits: np.ndarray, codes: np.ndarray, importance: np.ndarray | None = None) -> dict[str, float]:
    """Return mean cross-entropy, each image weighted, and accuracy."""
    top = logits.max(axis=0)
    own = logits[codes, np.arange(len(codes))]
    losses = np.log(np.exp(logits - top).sum(axis=0)) + top - own
    if importance is not None:
        losses *= importance
    right = logits.argmax(axis=0) == codes
    return {"accuracy": float(right.mean()), "loss": float(losses.mean(dtype=np.float64))}
