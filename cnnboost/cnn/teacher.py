"""What a better network says about the training images: stored log-probabilities that a training follows.

A file belongs to the very images it was made for, in their order, and to the classes in theirs. All of that
stands in it, so that a student can't be taught rows of other images.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.errors import DataError
from cnnboost.files import file_digest, replacing
from cnnboost.images.pixels import pixel_digest

FORMAT = 1
REMEDY = (
    "`cnnboost teach -r RECIPE --model FILE.keras` makes one for the training images of the student's recipe"
)


def write_teacher(
    path: str | os.PathLike[str],
    log_proba: np.ndarray,
    X: np.ndarray,
    classes: Sequence[Any] | np.ndarray,
    made_from: str = "",
) -> Path:
    """Write a teacher's log-probabilities of some images.

    Parameters
    ----------
    path : path-like
        Ends in `.npz`.
    log_proba : ndarray, (n, n_classes)
        Natural logarithms of probabilities, finite.
    X : ndarray, (n, height, width, channels)
        The images as the student will be given them, in [0, 255].
    classes : sequence
        Their names, in the order of the columns.
    made_from : str
        Digest of what the log-probabilities come from, for whoever wants to know whether they are up to date.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If the name has another ending, there is not a row for each image and a column for each class, or a
        value is not finite.
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
    wanted = (len(X), len(classes))
    if np.shape(log_proba) != wanted:
        raise DataError(
            f"log-probabilities of shape {np.shape(log_proba)}, {wanted[0]} images, {wanted[1]} classes: "
            "give a row for each image and a column for each class"
        )
    rows = np.asarray(log_proba, dtype=np.float32)
    _check_finite(rows, "log-probabilities")
    with replacing(path) as temporary:
        np.savez(
            temporary,
            format=np.int64(FORMAT),
            log_probabilities=rows,
            classes=np.array([str(name) for name in classes], dtype=np.str_),
            images=np.str_(images_digest(X)),
            made_from=np.str_(made_from),
        )
    return path


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
    if facts["images"].item() != images_digest(X):
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


def images_digest(X: np.ndarray) -> str:
    """Hash images and their order; floats count as the whole grey levels next to them.

    Parameters
    ----------
    X : ndarray, (n, height, width, channels)
        In [0, 255].

    Returns
    -------
    str
        sha256, hexadecimal.
    """
    return pixel_digest(X if X.dtype == np.uint8 else np.rint(X).astype(np.uint8))


def _read(path: Path) -> dict[str, np.ndarray]:
    _check_there(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = {
                name: stored[name]
                for name in ("format", "log_probabilities", "classes", "images", "made_from")
            }
    # An .npy file opens as an array, which is no context; the others are what zipfile and numpy raise.
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: damaged, or not the file of a teacher. {REMEDY}") from error
    if facts["format"].tolist() != FORMAT:
        raise DataError(
            f"{path}: a teacher's file of format {facts['format']}, this version reads {FORMAT}. {REMEDY}"
        )
    rows = facts["log_probabilities"]
    if rows.ndim != 2 or rows.dtype != np.float32 or rows.shape[1:] != facts["classes"].shape:
        raise DataError(
            f"{path}: damaged: {rows.dtype} log-probabilities of shape {rows.shape} for "
            f"{facts['classes'].size} classes. {REMEDY}"
        )
    _check_finite(rows, str(path))
    return facts


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file, the log-probabilities of a teacher are wanted. {REMEDY}")


def _check_finite(rows: np.ndarray, place: str) -> None:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"{place}: NaN or infinite in row {row} ({int((~finite).sum())} such rows in all); give "
            "probabilities of 0 a floor before the logarithm, e.g. 1e-13"
        )
