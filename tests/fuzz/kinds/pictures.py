"""Image files by themselves."""

from __future__ import annotations

import io
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from cnnboost.images import InputSpec, decode_image
from cnnboost.images.decode import image_shape
from tests.fuzz.archives import forged_png
from tests.fuzz.kind import Kind, digest

_SAVED: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "png": (("L", {}), ("RGB", {}), ("RGBA", {}), ("P", {"transparency": 3}), ("I;16", {}), ("1", {})),
    "jpg": (("L", {}), ("RGB", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"exif": True})),
    "bmp": (("L", {}), ("RGB", {}), ("1", {})),
    "tif": (
        ("L", {}), ("RGB", {"compression": "tiff_lzw"}), ("RGB", {"compression": "tiff_adobe_deflate"}),
        ("1", {"compression": "group4"}), ("I;16", {}), ("RGB", {"compression": "jpeg"}), ("RGBA", {}),
    ),
    "gif": (("L", {}), ("RGB", {}), ("P", {"transparency": 3})),
    "ppm": (("L", {}), ("RGB", {}), ("1", {})),
    "webp": (("RGB", {}), ("RGB", {"lossless": True}), ("RGBA", {"lossless": True})),
}  # fmt: skip
_FORMATS = {"jpg": "JPEG", "tif": "TIFF"}


@cache
def pictures(suffix: str) -> tuple[bytes, ...]:
    """Return whole files of one format, in each way that it can hold an image."""
    rng = np.random.default_rng(0)
    made = []
    for mode, options in _SAVED[suffix]:
        colours = rng.integers(0, 256, (11, 13, 3), dtype=np.uint8)
        image = Image.fromarray(colours)
        if mode == "I;16":
            image = Image.fromarray(rng.integers(0, 65536, (11, 13), dtype=np.uint16))
        elif mode == "RGBA":
            image.putalpha(Image.fromarray(colours[..., 0]))
        else:
            image = image.convert(mode)
        if options.pop("exif", False):
            exif = Image.Exif()
            exif[0x0112] = 6
            options = {**options, "exif": exif}
        file = io.BytesIO()
        image.save(file, _FORMATS.get(suffix, suffix.upper()), **options)
        made.append(file.getvalue())
    return tuple(made)


class Picture(Kind):
    share = 0.7
    suffix: str

    @cached_property
    def inputs(self):
        return [{f"a.{self.suffix}": content} for content in pictures(self.suffix)]

    def read(self, folder: Path) -> str:
        [path] = folder.iterdir()
        content = path.read_bytes()
        shape = image_shape(content, path.name)
        return digest(
            shape, *(decode_image(content, InputSpec(8, 8, channels), path.name) for channels in (1, 3))
        )

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        if self.suffix == "png" and rng.random() < 0.3:
            return (*forged_png(rng, content), False)
        how, new, _ = super().change(rng, name, content, other)
        return how, new, self.suffix == "png"

    def argv(self, folder: Path) -> list[str]:
        return ["predict", *map(str, folder.iterdir())]


PICTURES = tuple(
    type(f"{suffix.title()}Files", (Picture,), {"name": suffix, "suffix": suffix}) for suffix in _SAVED
)
