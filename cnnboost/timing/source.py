"""Where a timed path finds what it needs: small, so that a process of its own can be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]
"""From images, of a head from features, to probabilities `(n, k)`."""


class Source(NamedTuple):
    """Where a path finds what it needs.

    Attributes
    ----------
    cnn, head : str
        The `.keras` and the `.ubj` file.
    cnn_onnx, hybrid_onnx : str
        The exported graphs.
    layer, pixels : str
        Where the CNN is cut, and the pixels that it expects.
    images, features : str
        `.npy` files: uint8 `(n, height, width, channels)` and float32 `(n, d)`; in other modes than `plain`
        the features have the log-probabilities beside them.
    threads : int or None
        Of each library; None: its own choice.
    mode : {"plain", "residual", "blend"}
    layers : tuple of str
        Several that stand side by side; none where the features are the log-probabilities.
    temperature, weight : float
        Of the mode.
    norm : bool
        Whether the norm of the features is one more.
    tta : {"none", "flip", "shifts", "ten-crop"}
        Views whose mean is predicted.
    """

    cnn: str
    head: str
    cnn_onnx: str
    hybrid_onnx: str
    layer: str
    pixels: str
    images: str
    features: str
    threads: int | None = None
    mode: str = "plain"
    layers: tuple[str, ...] = ()
    temperature: float = 1.0
    weight: float = 0.0
    norm: bool = False
    tta: str = "none"
