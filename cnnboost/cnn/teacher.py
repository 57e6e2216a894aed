"""What a better network says about the training images: stored log-probabilities that a training follows.

A file belongs to the very images it was made for, in their order, and to the classes in theirs. All of that
stands in it, so that a student can't be taught rows of other images.
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
"""What stands in a file: kind of numpy's dtype, and dimensions."""
REMEDY = (
    "`cnnboost teach -r RECIPE --model FILE.keras` makes one for the training images of the student's recipe"
)


def write_teacher(
    path: str | os.PathLike[str],
    log_proba: np.ndarray,
    X: np.ndarray,
    classes: Sequence[Any] | np.ndarray,
    digest: str = "",
) -> Path:
    """Write a teacher's log-probabilities of some images.

    Parameters
    ----------
    path : path-like
        Ends in `.npz`.
    log_proba : ndarray, (n, n_classes)
        Natural logarithms of probabilities, finite.
    X : array-like, (n, height, width) or (n, height, width, channels)
        The images as the student will be given them, in [0, 255].
    classes : sequence
        Their names, in the order of the columns.
    digest : str
        Of what the log-probabilities come from: what `made_from` returns, for whoever wants to know whether
        they are up to date.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If the name has another ending, the images are none, there is not a row for each image and a column
        for each class, or a row holds no logarithms of probabilities: a value that is not finite or above 0,
        or probabilities that do not add up to 1.
    StoreError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from cnnboost.cnn.teacher import read_teacher, write_teacher
    >>> X, log_proba = np.zeros((3, 8, 8, 1), np.uint8), np.log(np.full((3, 2), 0.5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_teacher(Path(folder) / "teacher.npz", log_proba, X, ["cat", "dog"])
    ...     read_teacher(path, X, ["cat", "dog"]).shape
    (3, 2)
    """
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
    """Read the log-probabilities that a teacher gave some images.

    Parameters
    ----------
    path : path-like
    X : ndarray, (n, height, width, channels)
        The student's training images, in [0, 255].
    classes : sequence
        Its classes, in the order of its output.

    Returns
    -------
    ndarray of float32, (n, n_classes)

    Raises
    ------
    DataError
        If there is no such file, it is damaged, or it is of other images, of another number or order of them,
        or of other classes or another order of them.
    """
    facts = _read(Path(path))
    rows, known = facts["log_probabilities"], facts["classes"].tolist()
    names = [str(name) for name in classes]
    if known != names:
        differ = (
            "knows the classes in another order" if sorted(known) == sorted(names) else "knows other classes"
        )
        raise DataError(
            f"{path}: this teacher {differ}: {', '.join(known)}; the student has {', '.join(names)}. {REMEDY}"
        )
    if len(rows) != len(X):
        raise DataError(f"{path}: this teacher has seen {len(rows)} images, there are {len(X)}. {REMEDY}")
    if facts["images"].item() != _images_digest(X):
        raise DataError(
            f"{path}: this teacher has seen other images than these {len(X)}, of another size, or in another "
            f"order. {REMEDY}"
        )
    return np.asarray(rows)


def teacher_digest(path: str | os.PathLike[str]) -> str:
    """Hash the file of a teacher: what a student is made from, wherever the file lies.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    str
        sha256, hexadecimal.

    Raises
    ------
    DataError
        If there is no such file.
    """
    path = Path(path)
    _check_there(path)
    return file_digest(path)


def made_from(path: str | os.PathLike[str]) -> str | None:
    """Return the digest that `write_teacher` was given; None where there is no file that can be read.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    str or None
    """
    try:
        return str(_read(Path(path))["made_from"].item())
    except DataError:
        return None


def _images_digest(X: np.ndarray) -> str:
    """Hash images and their order; floats count as the whole levels next to them."""
    return pixel_digest(whole_levels(X))


def _read(path: Path) -> dict[str, np.ndarray]:
    _check_there(path)
    try:
        # All checksums first: numpy reads an array's description before it has seen that it is damaged.
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
        with np.load(path, allow_pickle=False) as stored:
            facts = {name: np.asarray(stored[name]) for name in _KINDS}
        for array in facts.values():
            if array.dtype.kind == "U" and not is_unicode(array):
                raise ValueError("text beyond Unicode")
    # zipfile and numpy raise whatever they trip over; the file is to blame for all of it.
    except Exception as error:
        raise DataError(f"{path}: damaged, or not the file of a teacher. {REMEDY}") from error
    shapes = all((facts[name].dtype.kind, facts[name].ndim) == kind for name, kind in _KINDS.items())
    if not (whole and shapes):
        raise DataError(f"{path}: damaged, or not the file of a teacher. {REMEDY}")
    if facts["format"].item() != FORMAT:
        raise DataError(
            f"{path}: a teacher's file of format {facts['format']}, this version reads {FORMAT}. {REMEDY}"
        )
    rows = facts["log_probabilities"]
    if rows.dtype != np.float32 or rows.shape[1:] != facts["classes"].shape:
        raise DataError(
            f"{path}: damaged: {rows.dtype} log-probabilities of shape {rows.shape} for "
            f"{facts['classes'].size} classes. {REMEDY}"
        )
    _check_rows(rows, str(path))
    return facts


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file, the log-probabilities of a teacher are wanted. {REMEDY}")


def _check_rows(rows: np.ndarray, place: str) -> None:
    sums = np.exp(np.minimum(rows, 0), dtype=np.float64).sum(axis=1)
    for good, what, remedy in (
        (
            np.isfinite(rows).all(axis=1),
            "NaN or infinite",
            "give probabilities of 0 a floor before the logarithm, e.g. 1e-13",
        ),
        (
            (rows <= _ABOVE_0).all(axis=1),
            "numbers above 0",
            "log-probabilities are at most 0: give np.log of probabilities",
        ),
        (
            np.abs(sums - 1) <= _FROM_1,
            "probabilities that do not add up to 1",
            "give np.log of the probabilities of all classes",
        ),
    ):
        if not good.all():
            row = int(np.argmin(good))
            raise DataError(f"{place}: {what} in row {row} ({int((~good).sum())} such rows in all); {remedy}")
