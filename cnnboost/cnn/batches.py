"""The images of a training, batch by batch: in order, balanced, augmented, mixed, made smaller.

A batch is a function of its number and the seed alone. So it does not matter which thread makes it, how many
are made ahead, or whether the training was killed and continued in between.

With progressive resizing the first epochs see smaller images, which cost less: a network whose weights do not
depend on the size of an image (convolutions, then global pooling) can learn most of what it learns from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from cnnboost.cnn.inputs import scale_pixels
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError
from cnnboost.images.augment import ORDER, uniforms
from cnnboost.images.pixels import whole_levels

_AHEAD = 2
"""Batches that are made while the network works on one."""
_MEASURED = 32
"""Batches on which the statistics of averaged weights are measured."""


class Batches:
    """Batches of a training."""

    def __init__(
        self,
        X: np.ndarray,
        codes: np.ndarray,
        targets: np.ndarray,
        options: TrainingOptions,
        weight: np.ndarray | None = None,
        pixels: str = "raw",
    ) -> None:
        self.X, self.targets, self.weight, self._pixels = X, targets, weight, pixels
        self._seed, self._size, self._mixup = options.seed, options.batch_size, options.mixup
        self._augment = options.augment
        self._classes = [np.arange(len(codes))]
        if options.balance:
            self._classes = [np.flatnonzero(codes == code) for code in np.unique(codes)]
        self.length = len(self._classes) * max(map(len, self._classes))
        self.steps = -(-self.length // self._size)
        self.stages = stages(options, (X.shape[1], X.shape[2]))
        self._order = lru_cache(maxsize=2)(self._ordered)

    def batch(self, number: int) -> tuple[np.ndarray, ...]:
        """Return a batch."""
        epoch, place = divmod(number, self.steps)
        rows, copies = (a[place * self._size : (place + 1) * self._size] for a in self._order(epoch))
        x, y = self.X[rows], self.targets[rows]
        w = None if self.weight is None else self.weight[rows]
        if self._augment is not None:
            # The copies of an image in an epoch are numbered as further images, so that they differ.
            x = self._augment.apply(whole_levels(x), self._seed, epoch, rows + copies * len(self.X))
        if self._mixup:
            x, y, w = self._mixed(x, y, w, number)
        x = shrink(x, self.size(epoch))
        if self._pixels != "raw":
            x = scale_pixels(x.astype(np.float32), self._pixels)
        return (x, y) if w is None else (x, y, w)

    @property
    def plain(self) -> bool:
        """Whether a batch is rows of the images, as they are."""
        changed = self._augment is not None or self._mixup or self._pixels != "raw"
        return not changed and len(self.stages) == 1

    def rows(self, epoch: int) -> np.ndarray:
        """Return which images an epoch shows, in order."""
        return self._order(epoch)[0]

    def size(self, epoch: int) -> tuple[int, int]:
        """Return height and width of the images of an epoch."""
        return next((stage.size for stage in self.stages if epoch < stage.stop), self.stages[-1].size)

    def images(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the images of an epoch's first batches: those that statistics are measured on."""
        for place in range(min(_MEASURED, self.steps)):
            yield self.batch(epoch * self.steps + place)[0]

    @contextmanager
    def dataset(self, first: int = 0) -> Iterator[Any]:
        """Give an endless Keras dataset whose batches are made beside the training."""
        import keras

        feed: Any = self
        waiting: dict[int, Future[tuple[np.ndarray, ...]]] = {}

        class Batches(keras.utils.PyDataset):
            # Not Keras' own workers: batches that it looks at before the first step would be lost to them.
            num_batches = None

            def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
                for passed in [i for i in waiting if not index <= i <= index + _AHEAD]:
                    waiting.pop(passed)
                for i in range(index, index + _AHEAD + 1):
                    if i not in waiting:
                        waiting[i] = pool.submit(feed.batch, first + i)
                return waiting[index].result()

        pool = ThreadPoolExecutor(1, thread_name_prefix="augment")
        try:
            yield Batches()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            # TensorFlow keeps what gives batches until the process ends; the images need not stay with it.
            waiting.clear()
            feed = None

    def _ordered(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which images an epoch shows, in order, and which copy of it each one is."""
        # Without balancing each image is there once, as copy 0. With it, every class is shown as often as the
        # largest: its images equally often, and the rest drawn in each epoch.
        largest = max(map(len, self._classes))
        rows, copies = [], []
        for of_class in self._classes:
            whole, rest = divmod(largest, len(of_class))
            drawn = of_class[:0]
            if rest:
                drawn = of_class[np.argsort(self._draw(epoch, of_class, 1), kind="stable")[:rest]]
            rows += [np.tile(of_class, whole), drawn]
            copies += [np.repeat(np.arange(whole), len(of_class)), np.full(rest, whole)]
        all_rows, all_copies = np.concatenate(rows), np.concatenate(copies)
        order = np.argsort(self._draw(epoch, all_rows + all_copies * len(self.X), 0), kind="stable")
        return all_rows[order], all_copies[order]

    def _draw(self, epoch: int, index: np.ndarray, which: int) -> np.ndarray:
        return uniforms(ORDER, self._seed, epoch, index, 2)[:, which]

    def _mixed(self, x: np.ndarray, y: np.ndarray, w: np.ndarray | None, number: int) -> Any:
        """Blend each image and its target with its neighbour in the batch; the order is random already."""
        share = np.random.default_rng((self._seed, number)).beta(self._mixup, self._mixup, len(x))
        share = np.maximum(share, 1 - share).astype(np.float32)

        def blend(values: np.ndarray) -> np.ndarray:
            kept = share.reshape(-1, *[1] * (values.ndim - 1))
            mixed: np.ndarray = kept * values + (1 - kept) * np.roll(values, 1, axis=0)
            return mixed

        if w is None:
            return blend(x), blend(y), None
        # Each part of the target counts as much as its own image would.
        both = blend(w)
        return blend(x), blend(w[:, None] * y) / np.maximum(both, 1e-30)[:, None], both


@dataclass(frozen=True)
class Stage:
    """Epochs of a training that show images of one size."""

    start: int
    stop: int
    size: tuple[int, int]
    full: bool


def stages(options: TrainingOptions, size: tuple[int, int]) -> list[Stage]:
    """Divide a training into stages."""
    height, width = size
    smaller, start, passed = [], 0, 0.0
    for pixels, share in options.progressive_resizing:
        if pixels >= height:
            raise ParameterError(
                f"progressive_resizing: a stage of {pixels} pixels needs images of more than {pixels} pixels "
                f"in height; these have {height}"
            )
        passed += share
        # However the shares round: what is asked about full images later should have seen some.
        stop = min(round(passed * options.epochs), options.epochs - 1)
        if stop > start:
            smaller.append(Stage(start, stop, (pixels, max(1, round(width * pixels / height))), full=False))
            start = stop
    return [*smaller, Stage(start, options.epochs, (height, width), full=True)]


def shrink(X: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize images by averaging: a pixel is the mean of what it covers."""
    if X.shape[1:3] == tuple(size):
        return X
    down, across = _means(X.shape[1], size[0]), _means(X.shape[2], size[1])
    n, _, width, channels = X.shape
    rows = down @ X.astype(np.float32).reshape(n, X.shape[1], width * channels)
    columns = across @ rows.reshape(n * size[0], width, channels)
    return columns.reshape(n, *size, channels)


@lru_cache
def _means(old: int, new: int) -> np.ndarray:
    """Weights (new, old) of old pixels in new ones; each row sums to 1."""
    edges = np.arange(new + 1) * (old / new)
    upper = np.minimum(edges[1:, None], np.arange(1, old + 1))
    lower = np.maximum(edges[:-1, None], np.arange(old))
    covered = np.maximum(upper - lower, 0)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
