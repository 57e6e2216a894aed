"""Rows held out and folds: class by class, equal rows on one side, decided by the rows and the seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from cnnboost.errors import DataError, ParameterError

Sides = tuple[NDArray[np.intp], NDArray[np.intp]]


def hold_out(X: Any, codes: NDArray[np.intp], *, fraction: float, seed: int) -> Sides:
    """Split rows into those to train on and those to hold out, class by class.

    A row's side follows from its values, its class and the seed, not from its place: identical rows of a
    class stay together, so that no copy of a row held out is trained on, and shuffling the rows changes
    nothing. A class always keeps at least one distinct row for training.
    """
    key = str(seed).encode()
    # Features on the disk come a block at a time.
    blocks = (block for _, block in X.blocks()) if hasattr(X, "blocks") else [np.asarray(X)]
    of_rows = (
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest(), "big")
        for block in blocks
        for row in block
    )
    digests = np.fromiter(of_rows, dtype=np.uint64, count=len(X))
    # In each class, the distinct rows in the order of their digests: a seeded shuffle.
    distinct = [np.unique(digests[codes == code]) for code in range(int(codes.max()) + 1)]
    counts = np.array([len(rows) for rows in distinct])
    room = np.maximum(counts - 1, 0)
    if not room.any():
        raise DataError(
            f"nothing can be held out: no class has two different rows (n_samples={len(X)}); pass "
            "validation_data, or do without (early_stopping_rounds=None, validation_fraction=0)"
        )
    shares = _share_out(counts, room, max(1, round(fraction * counts.sum())))
    held = np.zeros(len(X), dtype=bool)
    for code, (rows, share) in enumerate(zip(distinct, shares, strict=True)):
        held |= (codes == code) & np.isin(digests, rows[:share])
    return np.flatnonzero(~held), np.flatnonzero(held)


def _share_out(counts: NDArray[np.int_], room: NDArray[np.int_], total: int) -> NDArray[np.int_]:
    """Divide `total` in proportion to `counts`, largest remainders first, nowhere more than `room`."""
    quotas = total * counts / counts.sum()
    shares = np.minimum(np.floor(quotas).astype(int), room)
    while shares.sum() < total and (shares < room).any():
        # The first of equal remainders is taken, so that the seed alone decides.
        shares[np.argmax(np.where(shares < room, quotas - shares, -np.inf))] += 1
    return shares


def hold_out_every_class(
    X: NDArray[Any],
    codes: NDArray[np.intp],
    *,
    fraction: float,
    seed: int,
    classes: Sequence[Any] | NDArray[Any],
) -> Sides:
    """Hold images out, of every class some."""
    rest, held = hold_out(X, codes, fraction=fraction, seed=seed)
    for code in np.unique(codes):
        left, out = int(np.sum(codes[rest] == code)), int(np.sum(codes[held] == code))
        if not left or not out:
            raise DataError(
                f"holdout={fraction} leaves class {classes[code]} with {left} images to train on and {out} "
                "held out; give a larger share, or more images of that class"
            )
    return rest, held


def groups_of(X: NDArray[Any]) -> NDArray[np.intp]:
    """Number rows so that equal ones share a number, and a side of every split."""
    _, groups = np.unique(X.reshape(len(X), -1), axis=0, return_inverse=True)
    return groups.reshape(-1)


def folds_of(
    codes: NDArray[np.intp],
    groups: NDArray[np.intp] | None,
    folds: int,
    seed: int,
    classes: Sequence[Any] | NDArray[Any] | None = None,
) -> list[Sides]:
    """Split rows into folds, class by class, groups together; `classes` are the names for messages."""
    if folds < 2:
        raise ParameterError(f"folds={folds} divides nothing; give 2 or more")
    groups = np.arange(len(codes)) if groups is None else groups
    present = np.unique(codes)
    counts = np.array([len(np.unique(groups[codes == code])) for code in present])
    if counts.min() < folds:
        rarest = present[counts.argmin()]
        name = f"number {rarest}" if classes is None else classes[rarest]
        raise DataError(
            f"class {name} has {counts.min()} different images, and {folds} folds need {folds}; give at most "
            f"folds={max(2, int(counts.min()))}, or more images of that class"
        )
    splitter = _AllFoldsAtOnce(folds, shuffle=True, random_state=seed)
    return list(splitter.split(codes, codes, groups))


class _AllFoldsAtOnce(StratifiedGroupKFold):
    """The same folds in a fraction of the time: a group is tried in all of them by one computation.

    What it replaces is private to scikit-learn: where it is gone, scikit-learn's own loop finds the folds.
    """

    def _find_best_fold(
        self, y_counts_per_fold: NDArray[Any], y_cnt: NDArray[Any], group_y_counts: NDArray[Any]
    ) -> int:
        tried = np.repeat(y_counts_per_fold[None], self.n_splits, axis=0)
        every = np.arange(self.n_splits)
        tried[every, every] += group_y_counts
        spread = (tried / y_cnt).std(axis=1).mean(axis=1).tolist()
        rows = y_counts_per_fold.sum(axis=1).tolist()
        best = 0
        for fold in range(1, self.n_splits):
            alike = abs(spread[fold] - spread[best]) <= 1e-8 + 1e-5 * spread[best]  # as `np.isclose` has it
            if spread[fold] < spread[best] or (alike and rows[fold] < rows[best]):
                best = fold
        return best


def folds_of_every_class(
    codes: NDArray[np.intp],
    groups: NDArray[np.intp],
    folds: int,
    seed: int,
    classes: Sequence[Any] | NDArray[Any],
    least: int = 1,
) -> list[Sides]:
    """Split rows into folds that hold so many different rows of every class at least."""
    sides = folds_of(codes, groups, folds, seed, classes)
    for number, (_, held) in enumerate(sides, 1):
        for code in np.unique(codes):
            different = len(np.unique(groups[held[codes[held] == code]]))
            if different < least:
                raise DataError(
                    f"fold {number} of {folds} has {different} different images of class {classes[code]}, "
                    f"and a head takes {least}; give fewer folds, or more images of that class"
                )
    return sides


def drawn(codes: NDArray[np.intp], groups: NDArray[np.intp], n: int, seed: int) -> NDArray[np.intp]:
    """Draw groups, class by class in proportion, and return their rows.

    A larger `n` keeps nearly all of those of a smaller one: the shares of the classes are rounded.
    """
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    of_group = codes[first]
    order = np.random.default_rng(seed).permutation(len(first))
    counts = np.bincount(of_group)
    shares = _share_out(counts, counts, n)
    chosen = np.zeros(len(first), dtype=bool)
    for code, share in enumerate(shares):
        chosen[order[of_group[order] == code][:share]] = True
    return np.flatnonzero(chosen[place.reshape(-1)])
