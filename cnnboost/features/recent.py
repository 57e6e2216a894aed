"""Features that were computed lately in this process, found again by content.

A search over layers and trees asks for the features of the same folds of images again and again, each time of
another copy of the estimator.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np

MOST_BYTES = 256 << 20
"""Of all features that are kept; those that were not asked for longest go first."""
FEWEST_IMAGES = 64
"""Of fewer images, features are computed sooner than they are looked for."""


class RecentFeatures:
    """Arrays by content, as many as fit into a number of bytes.

    Parameters
    ----------
    most_bytes : int

    Examples
    --------
    >>> import numpy as np
    >>> recent = RecentFeatures(1000)
    >>> recent.put("a", np.zeros(10, np.float32))
    >>> recent.get("a").shape, recent.get("b")
    ((10,), None)
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> np.ndarray | None:
        """Return a copy of what was kept; None where nothing was."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key].copy()

    def put(self, key: str, features: np.ndarray) -> None:
        """Keep a copy, if it is at most a quarter of all that may be kept."""
        if features.nbytes > self._most // 4:
            return
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = features.copy()
            self._bytes += features.nbytes
            while self._bytes > self._most:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


RECENT = RecentFeatures(MOST_BYTES)
"""Those of this process."""


def key_of(trunk: str, pixels: str, X: np.ndarray) -> str:
    """Return the key of features: all that they follow from.

    Parameters
    ----------
    trunk : str
        Digest of what computes them: operations, weights, layer.
    pixels : str
        The scale of pixels that the trunk expects.
    X : ndarray, (n, height, width, channels)

    Returns
    -------
    str
        sha256, hexadecimal.
    """
    digest = hashlib.sha256(repr((trunk, pixels, X.shape, X.dtype.str)).encode())
    digest.update(np.ascontiguousarray(X).data)
    return digest.hexdigest()
