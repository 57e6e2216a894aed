"""What a better network says about the training images: stored log-probabilities that a training follows.

A file belongs to the very images it was made for, in their order, and to the classes in theirs. It holds
digests of both, so that a student cannot be trained with the rows of other images.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.cnn.inputs import check_images
from cnnboost.errors import DataError
from cnnboost.escape import is_unicode
from cnnboost.files import file_digest, write_bytes
from cnnboost.images.pixels import pixel_digest, whole_levels

FORMAT = 1
_ABOVE_0 = 1e-6
"""By how much rounding may take the logarithm of a probability of 1 above 0."""
_FROM_1 = 0.01
"""By how much probabilities may miss a sum of 1, as those with a floor or of 16 bits do."""
_KINDS = {
    "format": ("i", 0),
    "log_probabilities": ("f", 2),
    "classes": ("U", 1),
    "images": ("U", 0),
    "made_from": ("U", 0),
}
"""The arrays of a file: kind of numpy's dtype, and dimensions."""
REMEDY = "`cnnboost distill -r RECIPE --model FILE.keras` makes one for the training images of the student"


def write_teacher(
    path: str | os.PathLike[str],
    log_proba: np.ndarray,
    X: np.ndarray,
    classes: Sequence[Any] | np.ndarray,
    digest: str = "",
) -> Path:
    """Write a teacher's log-probabilities of some images."""
    path = Path(path)
    if path.suffix != ".npz":
        raise DataError(
            f"{path}: the file of a teacher ends in .npz; name it {path.with_suffix('.npz').name}"
        )
    X = check_images(X)
    wanted = (len(X), len(classes))
    if np.shape(log_proba) != wanted:
        raise DataError(
            f"log-probabilities of shape {np.shape(log_proba)}, {wanted[0]} images, {wanted[1]} classes: "
            "give a row for each image and a column for each class"
        )
    rows = np.asarray(log_proba, dtype=np.float32)
    _check_rows(rows, "log-probabilities")
    content = io.BytesIO()
    np.savez(
        content,
        format=np.int64(FORMAT),
        log_probabilities=rows,
        classes=np.array([str(name) for name in classes], dtype=np.str_),
        images=np.str_(_images_digest(X)),
        made_from=np.str_(digest),
    )
    return write_bytes(path, content.getbuffer())


def read_teacher(
    path: str | os.PathLike[str], X: np.ndarray, classes: Sequence[Any] | np.ndarray
) -> np.ndarray:
    """Read the log-probabilities that a teacher gave some images."""
    metadata = _read(Path(path))
    rows, known = metadata["log_probabilities"], metadata["classes"].tolist()
    names = [str(name) for name in classes]
    if known != names:
        raise DataError(
            f"{path}: this teacher knows other classes, or in another order: {', '.join(known)}; the student "
            f"has {', '.join(names)}. {REMEDY}"
        )
    if len(rows) != len(X) or metadata["images"].item() != _images_digest(X):
        raise DataError(
            f"{path}: this teacher was asked about {len(rows)} images; these {len(X)} are other images, of "
            f"another size, or in another order. {REMEDY}"
        )
    return np.asarray(rows)


def teacher_digest(path: str | os.PathLike[str]) -> str:
    """Hash the file of a teacher: what a student is made from, wherever the file lies."""
    path = Path(path)
    _check_exists(path)
    return file_digest(path)


def made_from(path: str | os.PathLike[str]) -> str | None:
    """Return the digest that `write_teacher` was given; None where there is no file that can be read."""
    try:
        return str(_read(Path(path))["made_from"].item())
    except DataError:
        return None


def _images_digest(X: np.ndarray) -> str:
    """Hash images and their order; floats count as the whole levels next to them."""
    return pixel_digest(whole_levels(X))


def _read(path: Path) -> dict[str, np.ndarray]:
    _check_exists(path)
    try:
        # All checksums first: numpy reads an array's description before it has seen that it is damaged.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip() is not None
        with np.load(path, allow_pickle=False) as stored:
            metadata = {name: np.asarray(stored[name]) for name in _KINDS}
        for name, array in metadata.items():
            damaged |= (array.dtype.kind, array.ndim) != _KINDS[name]
            damaged |= array.dtype.kind == "U" and not is_unicode(array)
    # zipfile and numpy raise whatever they trip over; the file is to blame for all of it.
    except Exception as error:
        raise DataError(f"{path}: damaged, or not the file of a teacher. {REMEDY}") from error
    rows = metadata["log_probabilities"]
    if damaged or rows.dtype != np.float32 or rows.shape[1:] != metadata["classes"].shape:
        raise DataError(f"{path}: damaged, or not the file of a teacher. {REMEDY}")
    if metadata["format"].item() != FORMAT:
        raise DataError(
            f"{path}: a teacher's file of format {metadata['format']}, this version reads {FORMAT}. {REMEDY}"
        )
    _check_rows(rows, str(path))
    return metadata


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file, the log-probabilities of a teacher are needed. {REMEDY}")


def _check_rows(rows: np.ndarray, place: str) -> None:
    sums = np.exp(np.minimum(rows, 0), dtype=np.float64).sum(axis=1)
    finite, below = np.isfinite(rows).all(axis=1), (rows <= _ABOVE_0).all(axis=1)
    for good, what, remedy in (
        (finite, "NaN or infinite", "give probabilities of 0 a floor before the logarithm, e.g. 1e-13"),
        (below, "numbers above 0", "log-probabilities are at most 0: give np.log of probabilities"),
        (
            np.abs(sums - 1) <= _FROM_1,
            "probabilities that do not add up to 1",
            "give np.log of the probabilities of all classes",
        ),
    ):
        if not good.all():
            row = int(np.argmin(good))
            raise DataError(f"{place}: {what} in row {row} ({int((~good).sum())} such rows in all); {remedy}")
