"""Hybrids that several tests export, and image files that several decode."""

import io

import numpy as np
import pytest
from PIL import Image

from cnnboost import BoostClassifier, HybridClassifier


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def fit_hybrid(toy_cnn, toy_images):
    """Return a function that fits a small hybrid, by default of the toy CNN."""

    def fit(cnn=None, images=None, **parameters):
        boost = BoostClassifier(n_estimators=4, max_depth=2, learning_rate=0.3, n_jobs=1)
        hybrid = HybridClassifier(cnn or toy_cnn, **{"boost": boost, **parameters})
        return hybrid.fit(*(images or toy_images))

    return fit


@pytest.fixture(scope="session")
def hybrids(fit_hybrid):
    """A hybrid in each mode; change nothing but their `tta`."""
    return {mode: fit_hybrid(mode=mode) for mode in ("plain", "residual", "blend")}


@pytest.fixture(scope="session")
def images():
    """Random pixels for a small graph."""
    return np.random.default_rng(0).integers(0, 256, (5000, 8, 8, 1), dtype=np.uint8)


@pytest.fixture(scope="session")
def odd_images():
    """Image files of all kinds that need more than to be decoded, by name."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(rng.integers(20_000, 1 << 16, (9, 9)).astype(np.uint16))
    return {
        "plain.png": encode(Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))),
        "large.jpg": encode(rgb.resize((301, 203)), "JPEG"),
        "palette.gif": encode(rgb.quantize(16), "GIF"),
        "transparent.png": encode(rgb.quantize(16), transparency=3),
        "cmyk.jpg": encode(rgb.convert("CMYK"), "JPEG"),
        "deep.png": encode(deep),
        "rgba.png": encode(Image.fromarray(rng.integers(0, 256, (12, 8, 4), dtype=np.uint8))),
        "bits.bmp": encode(rgb.convert("1"), "BMP"),
        "turned.jpg": encode(rgb, "JPEG", exif=turned),
        "page.tif": encode(rgb, "TIFF"),
        "web.webp": encode(rgb, "WEBP", lossless=True),
        "grey.jpg": encode(rgb.convert("L"), "JPEG"),
    }
