"""Features that stay on the disk, in parts, and are read a block of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnboost.errors import DataError, FeatureError, StoreError
from cnnboost.files import open_regular, reason_of

ONE_BLOCK = 1 << 30
"""Bytes of features, as float32, that are one block: their trees are those of an array."""
BLOCK_BYTES = 64 << 20
"""Of a block of larger ones, at most."""
_READ_BYTES = 16 << 20
"""Of rows that are read in one go."""
_FAR = 16
"""Mean distance of chosen rows from which on each is read by itself."""


class PartFile(NamedTuple):
    """One `.npy` file of feature rows, as it was when it was opened."""

    path: Path
    rows: int
    width: int
    dtype: np.dtype[Any]
    offset: int
    stamp: tuple[int, int]

    @classmethod
    def open(cls, path: Path) -> PartFile:
        """Read the header of a file; the values stay where they are."""
        try:
            with open_regular(path) as file:
                major, _ = np.lib.format.read_magic(file)
                read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
                shape, fortran, dtype = read[major](file)
                offset, stamp = file.tell(), _stamp(file.fileno())
        except FileNotFoundError as error:
            raise StoreError(
                f"{path} is missing; extract the features again, or name another file"
            ) from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {reason_of(error)}") from error
        except (ValueError, KeyError) as error:
            raise FeatureError(f"{path} is not a .npy file ({error}); write it with numpy.save") from error
        if len(shape) != 2 or dtype.kind not in "fiub":
            raise FeatureError(f"{path} holds {dtype} {shape}; features are numbers of shape (rows, columns)")
        if fortran and min(shape) > 1:
            raise FeatureError(
                f"{path} is stored column by column; save numpy.ascontiguousarray(X), whose rows can be read "
                "one after the other"
            )
        if stamp[0] != offset + shape[0] * shape[1] * dtype.itemsize:
            raise FeatureError(f"{path} is not a whole file of {dtype} {shape}; write or extract it again")
        return cls(path, *shape, dtype, offset, stamp)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows; never mapped, as a mapped file that is cut off ends the process."""
        values = np.empty((stop - start, self.width), self.dtype)
        try:
            with open_regular(self.path) as file:
                same = _stamp(file.fileno()) == self.stamp
                file.seek(self.offset + start * self.width * self.dtype.itemsize)
                count = file.readinto(values.reshape(-1).view(np.uint8).data) if values.size else 0
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {reason_of(error)}") from error
        if not same or count != values.nbytes:
            raise StoreError(f"{self.path} was changed while its features were in use; start again")
        with np.errstate(over="ignore"):  # what becomes infinite is named by whoever needs finite values
            return values.astype(np.float32, copy=False)

    def between(self, start: int, stop: int) -> PartFile:
        """Return a part of the file, which is named by its absolute path."""
        offset = self.offset + start * self.width * self.dtype.itemsize
        return self._replace(path=self.path.absolute(), rows=stop - start, offset=offset)


class ArrayPart(NamedTuple):
    """Rows in memory, beside or below others on the disk."""

    values: NDArray[np.float32]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows."""
        return self.values[start:stop]

    def between(self, start: int, stop: int) -> ArrayPart:
        """Return some of the rows."""
        return ArrayPart(self.values[start:stop])


Part = PartFile | ArrayPart


def _stamp(number: int) -> tuple[int, int]:
    info = os.fstat(number)
    return info.st_size, info.st_mtime_ns


class FeatureParts:
    """Features in `.npy` files, read a block of rows at a time: more than the memory holds.

    `BoostClassifier` takes it where it takes an array. Rows are those of the files one after the other;
    several sets of columns can be put side by side. `numpy.asarray` reads all of it into memory.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns)
    files : tuple of Path
        The files that rows are read from.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for number in range(3):
    ...     np.save(folder / f"{number}.npy", np.full((4, 2), number, np.float32))
    >>> parts = FeatureParts.open(sorted(folder.glob("*.npy")))
    >>> parts.shape, parts[[0, 11]].read(0, 2)[:, 0].tolist()
    ((12, 2), [0.0, 2.0])
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, columns: Sequence[Sequence[Part]], chosen: NDArray[np.intp] | None = None) -> None:
        self._columns = tuple(tuple(parts) for parts in columns)
        self._starts = [np.cumsum([0, *(part.rows for part in parts)]) for parts in self._columns]
        self._chosen = chosen
        rows = {int(starts[-1]) for starts in self._starts}
        if len(rows) != 1:
            counts = " and ".join(f"{starts[-1]:,}" for starts in self._starts)
            raise FeatureError(f"features side by side have {counts} rows; each must be of the same rows")
        self._width = sum(parts[0].width for parts in self._columns)
        self.shape = (rows.pop() if chosen is None else len(chosen), self._width)

    @classmethod
    def open(cls, source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> FeatureParts:
        """Open features on the disk.

        Parameters
        ----------
        source : path or sequence of paths
            `.npy` files of shape (rows, columns), in order; or one folder of the feature store, which is
            compared with its manifest.

        Returns
        -------
        FeatureParts

        Raises
        ------
        FeatureError
            If a file is not a `.npy` of numbers in rows, or has another width than the first.
        StoreError
            If a file is missing or cannot be read, or is not what the manifest of its folder states.
        """
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            if path.is_dir():
                from cnnboost.features.parts import stored_in

                return stored_in(path).features
            source = [path]
        return cls([open_parts([Path(path) for path in source])])

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that rows are read from."""
        return tuple(part.path for parts in self._columns for part in parts if isinstance(part, PartFile))

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self) * self._width

    @property
    def block_rows(self) -> int:
        """Rows of a block, at most."""
        of_a_row = 4 * max(1, self._width)
        if len(self) * of_a_row <= ONE_BLOCK:
            return max(1, len(self))
        return max(1, BLOCK_BYTES // of_a_row)

    @property
    def n_blocks(self) -> int:
        """Number of blocks; what is one block only is as well held in memory."""
        return -(-len(self) // self.block_rows)

    @property
    def sample_rows(self) -> int:
        """Rows that two blocks of `BLOCK_BYTES` hold, at most."""
        return min(len(self), 2 * max(1, BLOCK_BYTES // (4 * max(1, self._width))))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> FeatureParts:
        """Choose rows by a slice, by their numbers in ascending order, or by a mask; nothing is read.

        Raises
        ------
        IndexError
            If rows are chosen in another way, or one is not there.
        """
        rows = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        if len(rows) and rows.dtype.kind not in "iub":
            raise IndexError(f"rows are chosen by whole numbers or a mask, and these are {rows.dtype}")
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.intp, copy=False)
        if rows.ndim != 1 or np.any(np.diff(rows) < 0):
            raise IndexError("rows of features on the disk are chosen by their numbers, in ascending order")
        if len(rows) and not 0 <= rows[0] <= rows[-1] < len(self):
            raise IndexError(f"rows {rows[0]} to {rows[-1]} of {len(self)}")
        chosen = rows if self._chosen is None else self._chosen[rows]
        return FeatureParts(self._columns, chosen)

    def __repr__(self) -> str:
        return f"<FeatureParts: {self.shape[0]} rows of {self.shape[1]} features in {len(self.files)} files>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("features on the disk cannot be an array without being read")
        array = self.read(0, len(self))
        return array if dtype is None else array.astype(dtype, copy=False)

    def beside(self, *others: FeatureParts) -> FeatureParts:
        """Put the columns of others to the right of these.

        Raises
        ------
        FeatureError
            If they have another number of rows, or rows were chosen of one already.
        """
        parts = (self, *others)
        if any(one._chosen is not None for one in parts):
            raise FeatureError("columns are put side by side before rows are chosen of them")
        return FeatureParts([of for one in parts for of in one._columns])

    def below(self, *others: FeatureParts) -> FeatureParts:
        """Put the rows of others under these.

        Raises
        ------
        FeatureError
            If they have other columns, side by side otherwise, or rows were chosen of one already.
        """
        parts = (self, *others)
        if any(one._chosen is not None for one in parts):
            raise FeatureError("rows are put below others before some are chosen of them")
        widths = [[of[0].width for of in one._columns] for one in parts]
        if any(one != widths[0] for one in widths):
            raise FeatureError(f"features of the widths {widths} cannot lie one below the other")
        columns = [
            [part for parts in of for part in parts]
            for of in zip(*(one._columns for one in parts), strict=True)
        ]
        return FeatureParts(columns)

    def excerpt(self, start: int, stop: int) -> FeatureParts:
        """Return consecutive rows that name no more files than they lie in: small enough to be sent.

        Files are named by their absolute paths, so that another process finds them.
        """
        chosen = None if self._chosen is None else self._chosen[start:stop]
        first, last = (start, stop) if chosen is None else (int(chosen[0]), int(chosen[-1]) + 1)
        columns = []
        for parts, starts in zip(self._columns, self._starts, strict=True):
            begin = int(np.searchsorted(starts, first, side="right")) - 1
            end = int(np.searchsorted(starts, last))
            columns.append(
                [
                    part.between(max(0, first - int(place)), min(part.rows, last - int(place)))
                    for part, place in zip(parts[begin:end], starts[begin:end], strict=True)
                ]
            )
        return FeatureParts(columns, None if chosen is None else chosen - first)

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Give the rows in blocks: the number of the first row, and a float32 array (rows, columns)."""
        for start in range(0, len(self), self.block_rows):
            yield start, self.read(start, min(start + self.block_rows, len(self)))

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the rows from `start` up to `stop`, float32 (stop - start, columns).

        Raises
        ------
        StoreError
            If a file was changed since it was opened, or cannot be read.
        """
        out = np.empty((stop - start, self._width), np.float32)
        step = max(1, _READ_BYTES // (4 * max(1, self._width)))
        if self._chosen is None:
            for first in range(start, stop, step):
                last = min(first + step, stop)
                self._fill(out[first - start : last - start], first, last)
            return out
        wanted, done = self._chosen[start:stop], 0
        while done < len(wanted):
            # Rows that lie near each other are read together with those between them.
            first = int(wanted[done])
            end = int(np.searchsorted(wanted, first + step))
            near = wanted[done:end] - first
            if near[-1] >= _FAR * len(near):
                for place, row in enumerate(wanted[done:end], start=done):
                    self._fill(out[place : place + 1], int(row), int(row) + 1)
            else:
                piece = np.empty((int(near[-1]) + 1, self._width), np.float32)
                self._fill(piece, first, first + len(piece))
                np.take(piece, near, axis=0, out=out[done:end])
            done = end
        return out

    def _fill(self, out: NDArray[np.float32], start: int, stop: int) -> None:
        left = 0
        for parts, starts in zip(self._columns, self._starts, strict=True):
            right = left + parts[0].width
            number = int(np.searchsorted(starts, start, side="right")) - 1
            done = start
            while done < stop:
                part, begin = parts[number], int(starts[number])
                end = min(stop, begin + part.rows)
                if end > done:
                    out[done - start : end - start, left:right] = part.read(done - begin, end - begin)
                done, number = max(done, end), number + 1
            left = right


def open_parts(paths: Sequence[Path]) -> list[PartFile]:
    """Open the files of the same columns, one below the other."""
    if not paths:
        raise DataError("there are no files of features; name at least one .npy file")
    parts = [PartFile.open(path) for path in paths]
    for first, other in pairwise(parts):
        if other.width != first.width:
            raise FeatureError(
                f"{other.path} has {other.width} columns and {first.path} has {first.width}; parts lie one "
                "below the other, so all have the same columns"
            )
    return parts
