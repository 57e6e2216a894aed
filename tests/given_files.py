"""The files that pages of the documents are about, small ones: photographs, a network, FER-2013."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import ROOT
from tests.faces.clips import astronaut, moving, write_clip

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def give(folder: Path, text: str) -> None:
    """Put into a folder the files that a text names."""
    for name, make in _MAKERS.items():
        if name in text:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            make(folder / name)


def _digits(digit: int, count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Return grey pictures of a handwritten digit."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    chosen = X[y == digit][:count].reshape(-1, 8, 8)
    return [Image.fromarray(np.rint(x * (255 / 16)).astype(np.uint8)).resize(size) for x in chosen]


def _photographs(folder: Path, each: int = 12) -> None:
    """Save digits in three colours, each a class that goes by the name of an expression."""
    for digit, (name, white) in enumerate({"happy": "red", "neutral": "lime", "sad": "blue"}.items()):
        (folder / name).mkdir(parents=True)
        for i, picture in enumerate(_digits(digit, each, (40, 48))):
            colour = Image.merge("RGB", [picture.point(lambda v: v // 2)] * 3)
            tint = Image.new("RGB", picture.size, white)
            Image.blend(colour, tint, 0.4).save(folder / name / f"{i}.png")


def _faces(folder: Path) -> None:
    """Save a face, cut out and moved a little, as two labelled ones."""
    for label, shift in (("happy", 0), ("neutral", 6)):
        (folder / label).mkdir(parents=True)
        crop = astronaut().crop((165 + shift, 50, 285 + shift, 170)).resize((48, 48)).convert("L")
        crop.save(folder / label / "face.png")


def _fer2013(path: Path) -> None:
    """Write an archive in the layout of FER-2013, with digits in place of expressions."""
    splits = (("train", "Training", 0, 10), ("test", "PublicTest", 10, 16), ("test", "PrivateTest", 16, 20))
    with zipfile.ZipFile(path, "w") as archive:
        for digit, label in enumerate(EXPRESSIONS):
            pictures = _digits(digit, 20, (48, 48))
            for split, prefix, start, stop in splits:
                for i in range(start, stop):
                    content = io.BytesIO()
                    pictures[i].save(content, "PNG")
                    archive.writestr(f"{split}/{label}/{prefix}_{i}.png", content.getvalue())


@cache
def _network() -> bytes:
    """Return the file of a network that knows the photographs."""
    from cnnboost import CNNClassifier, load_images

    with tempfile.TemporaryDirectory() as place:
        _photographs(Path(place, "photographs"))
        images = load_images(Path(place, "photographs"), size=(24, 20), channels=3, cache=False)
        options = {"filters": [8], "dense": [16, 12], "dropout": 0.0}
        cnn = CNNClassifier("digits", model_options=options, epochs=20, batch_size=8, random_state=0)
        return cnn.fit(images.X, images.labels).save(Path(place, "mine.keras")).read_bytes()


def _save(picture: Callable[[], Image.Image]) -> Callable[[Path], object]:
    return lambda path: picture().save(path)


def _zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        content = io.BytesIO()
        astronaut().save(content, "PNG")
        archive.writestr("face.png", content.getvalue())


_MAKERS: dict[str, Callable[[Path], object]] = {
    "photographs/": _photographs,
    "faces/": _faces,
    "images/": _faces,
    "images.zip": _zipped,
    "fer2013.zip": _fer2013,
    "mine.keras": lambda path: path.write_bytes(_network()),
    "clip.mp4": lambda path: write_clip(path, moving(3)),
    "models/fer2013": lambda path: path.symlink_to(ROOT / "models" / "fer2013"),
    **{
        name: _save(astronaut)
        for name in ("photograph.jpg", "photo.jpg", "image.jpg", "face.jpg", "other.png")
    },
}
