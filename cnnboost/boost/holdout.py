"""The rows that early stopping watches."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnboost.errors import DataError


def hold_out(
    X: NDArray[Any], codes: NDArray[np.intp], *, fraction: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows into those to train on and those to watch, class by class.

    A row's side follows from its values, its class and the seed, not from its place: identical rows of a
    class stay together, so that no copy of a watched row is trained on, and shuffling the rows changes
    nothing. A class always keeps at least one distinct row for training.
    """
    key = str(seed).encode()
    digests = np.array(
        [
            int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest(), "big")
            for row in np.asarray(X)
        ],
        dtype=np.uint64,
    )
    # In each class, the distinct rows in the order of their digests: a seeded shuffle.
    distinct = [np.unique(digests[codes == code]) for code in range(int(codes.max()) + 1)]
    counts = np.array([len(rows) for rows in distinct])
    room = np.maximum(counts - 1, 0)
    if not room.any():
        raise DataError(
            f"early stopping has nothing to watch: no class has two different rows (n_samples={len(X)}); "
            "pass validation_data, or early_stopping_rounds=None"
        )
    shares = _share_out(counts, room, max(1, round(fraction * counts.sum())))
    is_watched = np.zeros(len(X), dtype=bool)
    for code, (rows, share) in enumerate(zip(distinct, shares, strict=True)):
        is_watched |= (codes == code) & np.isin(digests, rows[:share])
    return np.flatnonzero(~is_watched), np.flatnonzero(is_watched)


def _share_out(counts: NDArray[np.int_], room: NDArray[np.int_], total: int) -> NDArray[np.int_]:
    """Divide `total` in proportion to `counts`, largest remainders first, nowhere more than `room`."""
    quotas = total * counts / counts.sum()
    shares = np.minimum(np.floor(quotas).astype(int), room)
    while shares.sum() < total and (shares < room).any():
        # The first of equal remainders is taken, so that the seed alone decides.
        shares[np.argmax(np.where(shares < room, quotas - shares, -np.inf))] += 1
    return shares
