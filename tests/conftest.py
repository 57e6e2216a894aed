"""Toy images, and a toy CNN that is trained once for the whole run."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep decoded images of tests out of the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("CNNBOOST_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("CNNBOOST_DATA", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def toy_images() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: uint8 (600, 8, 8, 1) and labels 0..9. Real, small, on every machine."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = np.rint(X[:600] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    X.setflags(write=False)
    return X, y[:600]


@pytest.fixture(scope="session")
def toy_cnn(toy_images):
    """A CNN that knows the toy images; do not fit it again."""
    from cnnboost import CNNClassifier

    return CNNClassifier("digits", epochs=6, batch_size=32, random_state=0).fit(*toy_images)


@pytest.fixture(scope="session")
def toy_file(toy_cnn, tmp_path_factory) -> Path:
    """Return the toy CNN's .keras file."""
    return toy_cnn.save(tmp_path_factory.mktemp("toy") / "cnn.keras")


@pytest.fixture(scope="session")
def fer2013() -> Path:
    """Return the FER-2013 archive, where the machine has it."""
    path = Path(os.environ.get("CNNBOOST_FER2013", ROOT.parent / "shared" / "data" / "fer2013.zip"))
    if not path.is_file():
        pytest.skip("the FER-2013 images are not here; CNNBOOST_FER2013 may name the archive")
    return path
