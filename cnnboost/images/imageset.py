"""The image set: uint8 pixels, labels, class names, row ids, and a split for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnboost.errors import BadInput, DataError
from cnnboost.images.pixels import pixel_digest
from cnnboost.images.split import Rows, Split, as_slice

SPLITS = ("train", "validation", "test")


def check_labels(
    source: str, y: npt.NDArray[np.integer], classes: Sequence[str], ids: Sequence[str] | np.ndarray
) -> None:
    """Check that classes have different names and that labels are positions among them."""
    if len(set(classes)) < len(classes):
        raise DataError(f"{source}: class {max(classes, key=classes.count)!r} is named twice; name each once")
    wrong = np.flatnonzero((y < 0) | (y >= len(classes)))
    if len(wrong):
        raise DataError(
            f"{source}: {ids[wrong[0]]} has label {int(y[wrong[0]])}, "
            f"but there are {len(classes)} classes (0 to {len(classes) - 1})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet(Rows):
    """The images of one data source. Make one with `load_images` or `ImageSet.from_arrays`.

    Sets derived from another (`drop`, `select`, ...) share its pixels; nothing is copied before
    somebody asks for `X`.

    Attributes
    ----------
    pixels : ndarray of shape (m, height, width, channels), dtype uint8
        The pixels of the source, possibly a read-only memory map, or decoded when they are asked for. `X` is
        what a user wants.
    pixel_rows : ndarray of shape (n,), dtype int64
        The row of `pixels` that each row of this set shows.
    y : ndarray of shape (n,), dtype int64
        Labels: positions in `classes`.
    classes : tuple of str
        Class names.
    ids : ndarray of shape (n,), dtype str
        File path inside the source, or ``row 17``.
    splits : ndarray of shape (n,), dtype str
        ``train``, ``validation`` or ``test`` for each row.
    pixels_digest : str
        sha256 over `pixels`; where they are streamed, over the files that they are decoded from.
    source : str
        What the set was loaded from, for messages.
    bad : tuple of BadInput
        Inputs of the source that were left out.
    drawn : bool
        Whether the validation split was drawn from train, as the source has none.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.zeros((4, 8, 8), dtype=np.uint8)
    >>> images = ImageSet.from_arrays(X, ["cat", "dog", "cat", "dog"], splits=["train"] * 3 + ["test"])
    >>> images
    <ImageSet arrays: 4 images of 8x8x1, 2 classes, train 3, test 1>
    >>> images.train.X.shape, images.train.labels.tolist()
    ((3, 8, 8, 1), ['cat', 'dog', 'cat'])
    """

    splits: npt.NDArray[np.str_]
    source: str
    bad: tuple[BadInput, ...] = ()
    drawn: bool = False

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise DataError(
                f"{self.source}: pixels are {self.pixels.dtype} of shape {self.pixels.shape}; "
                "an image set holds uint8 (n, height, width, channels)"
            )
        lengths = [len(part) for part in (self.pixel_rows, self.y, self.ids, self.splits)]
        if len(set(lengths)) > 1:
            counts = "{} images, {} labels, {} ids, {} splits".format(*lengths)
            raise DataError(f"{self.source}: {counts}; give one of each for every image")
        unknown = sorted(set(self.splits.tolist()) - set(SPLITS))
        if unknown:
            raise DataError(f"{self.source}: split {unknown[0]!r} is not one of {', '.join(SPLITS)}")
        check_labels(self.source, self.y, self.classes, self.ids)

    @classmethod
    def from_arrays(
        cls,
        X: npt.ArrayLike,
        y: Any,
        *,
        classes: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        source: str = "arrays",
    ) -> ImageSet:
        """Make an image set of arrays in memory.

        Parameters
        ----------
        X : array of shape (n, height, width) or (n, height, width, channels), dtype uint8
        y : array of shape (n,)
            Positions in `classes`; or, without `classes`, labels of any sort: their sorted distinct
            values become the class names.
        classes : sequence of str, optional
        ids : sequence of str, default ``row 1``, ``row 2``, ...
        splits : sequence of str, default all ``train``
        source : str, default="arrays"
            A name for messages.

        Returns
        -------
        ImageSet

        Raises
        ------
        DataError
            Pixels that are not uint8, lengths that differ, labels or splits out of range.
        """
        pixels = np.asarray(X)
        if pixels.ndim == 3:
            pixels = pixels[..., np.newaxis]
        y = np.asarray(y)
        if y.ndim != 1:
            raise DataError(f"{source}: labels have shape {y.shape}; give one label for each image, (n,)")
        if classes is None:
            values, y = np.unique(y, return_inverse=True)
            classes = [str(value) for value in values.tolist()]
        n = len(pixels)
        pixels = pixels.view()
        pixels.setflags(write=False)
        return cls(
            pixels=pixels,
            pixel_rows=np.arange(n, dtype=np.int64),
            y=y.astype(np.int64),
            classes=tuple(classes),
            ids=np.asarray([f"row {row + 1}" for row in range(n)] if ids is None else ids, dtype=np.str_),
            splits=np.asarray(["train"] * n if splits is None else splits, dtype=np.str_),
            pixels_digest=pixel_digest(pixels) if pixels.ndim == 4 else "",
            source=source,
        )

    @cached_property
    def digest(self) -> str:
        """sha256 of the content of this set: pixels, shape and order; never labels or locations."""
        whole = len(self) == len(self.pixels) and as_slice(self.pixel_rows) is not None
        return self.pixels_digest if whole else self.rows_digest()

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that have rows, in the order train, validation, test."""
        return tuple(self._by_name)

    @cached_property
    def _by_name(self) -> dict[str, Split]:
        by_name = {}
        for name in SPLITS:
            rows = np.flatnonzero(self.splits == name).astype(np.int64)
            if len(rows):
                by_name[name] = Split(
                    pixels=self.pixels,
                    pixel_rows=self.pixel_rows[rows],
                    y=self.y[rows],
                    classes=self.classes,
                    ids=self.ids[rows],
                    pixels_digest=self.pixels_digest,
                    name=name,
                    rows=rows,
                )
        return by_name

    def __getitem__(self, split: str) -> Split:
        """Return one split by its name."""
        if split not in self._by_name:
            names = ", ".join(self.split_names) or "none"
            raise DataError(f"{self.source} has no split {split!r}; it has: {names}")
        return self._by_name[split]

    @property
    def train(self) -> Split:
        """The rows to fit on."""
        return self["train"]

    @property
    def validation(self) -> Split:
        """The rows to choose by."""
        return self["validation"]

    @property
    def test(self) -> Split:
        """The rows to score once at the end."""
        return self["test"]

    def __repr__(self) -> str:
        n, height, width, channels = self.shape
        counts = "".join(f", {name} {len(self[name])}" for name in self.split_names)
        return (
            f"<ImageSet {self.source}: {n} images of {height}x{width}x{channels}, "
            f"{len(self.classes)} classes{counts}>"
        )

    def select(self, rows: npt.ArrayLike) -> ImageSet:
        """Return the set of these rows only, in the order given.

        Parameters
        ----------
        rows : array of int of shape (k,), or of bool of shape (n,)
        """
        rows = np.asarray(rows)
        if rows.dtype == np.bool_:
            if rows.shape != (len(self),):
                raise DataError(f"{self.source}: a mask of shape {rows.shape} for {len(self)} rows")
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.int64).reshape(-1)
        wrong = rows[(rows < 0) | (rows >= len(self))]
        if len(wrong):
            raise DataError(f"{self.source}: row {int(wrong[0])} is not one of 0 to {len(self) - 1}")
        return replace(
            self,
            pixel_rows=self.pixel_rows[rows],
            y=self.y[rows],
            ids=self.ids[rows],
            splits=self.splits[rows],
        )

    def _position(self, name: str) -> int:
        if name not in self.classes:
            raise DataError(f"{self.source} has no class {name!r}; its classes: {', '.join(self.classes)}")
        return self.classes.index(name)

    def drop(self, classes: Sequence[str]) -> ImageSet:
        """Return the set without the rows of these classes.

        Raises
        ------
        DataError
            An unknown class, or nothing would be left.
        """
        gone = [self._position(name) for name in classes]
        keep = [name for name in self.classes if name not in set(classes)]
        if not keep:
            raise DataError(f"{self.source}: dropping {', '.join(classes)} leaves no class")
        rest = self.select(~np.isin(self.y, gone))
        code = np.array([keep.index(name) if name in keep else -1 for name in self.classes], dtype=np.int64)
        return replace(rest, y=code[rest.y], classes=tuple(keep))

    def with_classes(self, order: Sequence[str]) -> ImageSet:
        """Return the same rows with the classes in this order.

        Raises
        ------
        DataError
            `order` does not name each class exactly once.
        """
        faults = {
            "twice": [name for name, count in Counter(order).items() if count > 1],
            "unknown": [name for name in order if name not in self.classes],
            "missing": [name for name in self.classes if name not in order],
        }
        shown = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
        if shown:
            raise DataError(
                f"{self.source}: the order {', '.join(order)} does not name each class once ({shown}); the "
                f"classes are {', '.join(self.classes)}: name each of them, or drop those not wanted"
            )
        code = np.array([list(order).index(name) for name in self.classes], dtype=np.int64)
        return replace(self, y=code[self.y], classes=tuple(order))

    def binary(self, positive: str) -> ImageSet:
        """Return the same rows as two classes: ``not <positive>`` (0) and `positive` (1)."""
        y = (self.y == self._position(positive)).astype(np.int64)
        return replace(self, y=y, classes=(f"not {positive}", positive))

    def with_validation(self, fraction: float, seed: int = 0) -> ImageSet:
        """Return the set with a validation split: itself where it has one, else a part of train.

        Parameters
        ----------
        fraction : float
            Share of the train rows, drawn class by class; at least one row of each class that has two
            or more. 0 leaves the set as it is.
        seed : int, default=0

        Raises
        ------
        DataError
            No train split to take rows from, too few rows, or a fraction that is not in [0, 1).
        """
        if not 0 <= fraction < 1:
            raise DataError(f"validation fraction {fraction!r} is not in [0, 1)")
        if fraction == 0 or "validation" in self.split_names:
            return self
        rows = self.train.rows
        per_class = np.bincount(self.y[rows], minlength=len(self.classes))
        rows = rows[per_class[self.y[rows]] > 1]
        n_classes = int(np.count_nonzero(per_class > 1))
        wanted = max(round(fraction * len(rows)), n_classes)
        if n_classes == 0 or len(rows) - wanted < n_classes:
            raise DataError(
                f"{self.source}: {len(self.train)} train images are too few to set a fraction of "
                f"{fraction} aside for validation; add images, or a validation split, or give fraction 0"
            )
        from sklearn.model_selection import train_test_split

        _, chosen = train_test_split(rows, test_size=wanted, stratify=self.y[rows], random_state=seed)
        splits = self.splits.astype("<U10")
        splits[chosen] = "validation"
        return replace(self, splits=splits, drawn=True)
