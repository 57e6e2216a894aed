"""Two published data sets: scikit-learn's digits, and CIFAR-10's binary batches."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cnnboost.errors import DataError
from cnnboost.files import read_regular
from cnnboost.images.readers.listing import Listing, Reader, array_listing, stamp
from cnnboost.images.tree import FileStamp

_ROW = 1 + 3 * 32 * 32
_NAMES = "batches.meta.txt"


def _digits_file(source: str) -> list[FileStamp]:
    """Find scikit-learn's own file without importing scikit-learn."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return [stamp(Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz")]


def _digits(source: str) -> Listing:
    """Load the 1,797 images of 8x8; their 17 grey levels 0 to 16 are spread over 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    n = len(digits.images)
    return array_listing(
        source,
        np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis],
        digits.target,
        tuple(str(name) for name in digits.target_names),
        splits=["train"] * n,
        ids=[f"row {row + 1}" for row in range(n)],
    )


def _batches(source: str) -> list[Path]:
    """Find the batches ``data_batch_1.bin``, ..., ``test_batch.bin`` in the folder, or in one below it."""
    for folder in (Path(source), Path(source) / "cifar-10-batches-bin"):
        if batches := [*sorted(folder.glob("data_batch_*.bin")), *folder.glob("test_batch.bin")]:
            return batches
    return []


def _cifar_files(source: str) -> list[FileStamp]:
    batches = _batches(source)
    return [stamp(path) for path in (*batches, batches[0].with_name(_NAMES)) if path.exists()]


def _cifar(source: str) -> Listing:
    """Read the batches.

    A row is a label byte and then 1,024 red, 1,024 green and 1,024 blue bytes, row by row
    (https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version").
    """
    batches = _batches(source)
    names = batches[0].with_name(_NAMES)
    try:
        classes = tuple(name for line in read_regular(names).decode().splitlines() if (name := line.strip()))
    except UnicodeDecodeError as error:
        raise DataError(f"{names}: is not UTF-8 text; it should hold the class names, one a line") from error
    rows: list[np.ndarray] = []
    splits: list[str] = []
    ids: list[str] = []
    for path in batches:
        content = np.frombuffer(read_regular(path), dtype=np.uint8)
        if len(content) == 0 or len(content) % _ROW:
            raise DataError(
                f"{path}: {len(content)} bytes are not a whole number of rows of {_ROW}: empty or cut off; "
                "download it again"
            )
        rows.append(content.reshape(-1, _ROW))
        splits += ["test" if path.name.startswith("test") else "train"] * len(rows[-1])
        ids += [f"{path.name} row {row + 1}" for row in range(len(rows[-1]))]
    stacked = np.concatenate(rows)
    pixels = stacked[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return array_listing(source, pixels, stacked[:, 0], classes, splits, ids)


#: A folder of that name is ``./digits``.
DIGITS = Reader(
    "digits",
    "the word 'digits' (scikit-learn's handwritten digits)",
    lambda source: source == "digits",
    _digits_file,
    _digits,
)
CIFAR = Reader(
    "cifar",
    f"a folder with CIFAR-10's binary batches (data_batch_1.bin ..., {_NAMES})",
    lambda source: bool(_batches(source)),
    _cifar_files,
    _cifar,
)
