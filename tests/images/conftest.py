"""Real image files of random pixels."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file; pixels of shape (h, w, 1) are grey."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_zip(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive with these members; names are written as they are."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return path


def write_folder(root: Path, members: Mapping[str, bytes]) -> Path:
    """A folder with these files; a name that ends with / is an empty folder."""
    root.mkdir(exist_ok=True)
    for name, data in members.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def pixels(rng: np.random.Generator) -> Callable[..., np.ndarray]:
    """Make random pixels: ``pixels(h, w, c)``."""

    def make(height: int = 8, width: int = 8, channels: int = 1) -> np.ndarray:
        return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)

    return make


@pytest.fixture
def faces(pixels) -> dict[str, bytes]:
    """Members of a small image set: two splits, two classes, 5 train and 2 test images each."""
    return {
        f"{split}/{name}/{k}.png": encode(pixels())
        for split, count in (("train", 5), ("test", 2))
        for name in ("happy", "sad")
        for k in range(count)
    }


@pytest.fixture(scope="session")
def published_faces(fer2013, tmp_path_factory):
    """FER-2013 as it is published, decoded once for all tests."""
    from cnnboost.images import load_images

    return load_images(fer2013, cache=tmp_path_factory.mktemp("fer2013"))
