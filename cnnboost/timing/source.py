"""Where a timed path finds what it needs: small, so that a process of its own can be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]
"""From images, of a head from features, to probabilities `(n, k)`."""


class Source(NamedTuple):
    """Where a path finds what it needs."""

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
