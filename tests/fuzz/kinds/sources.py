"""Sources of images: archives, tables, arrays, batches, and the cache of what was decoded."""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from cnnboost.errors import DataError
from cnnboost.images import ImageSet, load_images
from tests.fuzz.archives import contradicting, damaged_npy, forged_png, packed, repacked
from tests.fuzz.damage import damaged
from tests.fuzz.kind import Kind, Sealed, digest, files_in, put

_ROW = 3073


def _png(rng: np.random.Generator, size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def class_folders(splits: bool) -> list[tuple[str, bytes]]:
    """Return images by their names in a set of class folders."""
    rng = np.random.default_rng(1)
    tops = ("train/", "test/") if splits else ("",)
    return [
        (f"{top}{name}/{number}.png", _png(rng))
        for top in tops
        for name in ("bird", "cat", "dog")
        for number in range(3)
    ]


def rows_of(images: ImageSet) -> set[str]:
    """Return a digest of each row: where it stands, its class, its split and its pixels."""
    pixels = np.asarray(images.pixels)[images.pixel_rows]
    return {
        digest(str(images.ids[row]), images.classes[images.y[row]], str(images.splits[row]), pixels[row])
        for row in range(len(images))
    }


class Source(Kind):
    """A source as `load_images` takes it."""

    place: str

    def __init__(self, originals: Path) -> None:
        super().__init__(originals)
        self.rows: set[str] = set()

    def prepare(self, scratch: Path) -> None:
        for number, files in enumerate(self.inputs):
            folder = scratch / f"whole-{number}"
            put(folder, files)
            images = self._load(folder, "stop")
            self.rows |= rows_of(images)
            self.whole.add(self._digest(images))

    def _load(self, folder: Path, on_bad) -> ImageSet:
        return load_images(folder / self.place, cache=False, n_jobs=1, validation_fraction=0, on_bad=on_bad)

    def _digest(self, images: ImageSet) -> str:
        return digest(images.classes, sorted(rows_of(images)))

    def read(self, folder: Path) -> str:
        try:
            return self._digest(self._load(folder, "stop"))
        except DataError:
            left = rows_of(self._load(folder, "skip"))
            if left <= self.rows:
                raise
            return digest("rows that were not there", sorted(left - self.rows))

    def argv(self, folder: Path) -> list[str]:
        return ["inspect", "--data", str(folder / self.place), "--reports", str(folder / "reports")]


class Archives(Source):
    name, place = "zip", "set.zip"

    @cached_property
    def inputs(self):
        return [
            {self.place: packed(class_folders(splits), compressed)}
            for splits in (False, True)
            for compressed in (True, False)
        ]

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        kind = rng.random()
        if kind < 0.3:
            change = rng.choice((lambda r, data: damaged(r, data)[1], lambda r, data: forged_png(r, data)[1]))
            return (*repacked(rng, content, change), False)
        if kind < 0.6:
            return (*contradicting(rng, content), True)
        return (*damaged(rng, content, other), True)


class Csv(Source):
    name, place = "csv", "fer.csv"

    @cached_property
    def inputs(self):
        rng = np.random.default_rng(2)

        def table(head: str, row: str, end: str) -> bytes:
            lines = [head]
            for number in range(12):
                pixels = " ".join(map(str, rng.integers(0, 256, 16)))
                usage = ("Training", "PublicTest", "PrivateTest")[number // 4]
                lines.append(row.format(label=number % 4, pixels=pixels, usage=usage))
            return (end.join(lines) + end).encode()

        return [
            {self.place: content}
            for content in (
                table("emotion,pixels,Usage", "{label},{pixels},{usage}", "\n"),
                table("emotion, Usage, pixels", '"{label}", {usage}, "{pixels}"', "\r\n"),
                table("emotion,pixels", "{label},{pixels}", "\n"),
            )
        ]

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        if rng.random() < 0.5:
            return (*damaged(rng, content, other), False)
        lines = content.split(b"\n")
        cells = lines[rng.randrange(len(lines))].split(b",")
        odd = (
            b"",
            b"-1",
            b"9" * 5000,
            b"nan",
            b'"',
            b"\xff\xfe",
            b"\0",
            b"6",
            b"\xd9\xa3",
            b"1 " * 20,
            b"Training,",
            b"0" * 99 + b"1",
        )
        words = cells[rng.randrange(len(cells))]
        new = rng.choice(odd)
        target = rng.choice([word for word in words.split(b" ") if word] or [b""])
        return (
            "cell",
            content.replace(target, new, rng.choice((1, 1, -1))) if target else new + content,
            False,
        )


class Npz(Source):
    name, place = "npz", "set.npz"

    @cached_property
    def inputs(self):
        rng = np.random.default_rng(3)
        X = rng.integers(0, 256, (12, 5, 6), dtype=np.uint8)
        y = np.arange(12) % 3
        names = np.array(["bird", "cat", "dog"])
        kinds = (
            {"X": X, "y": y},
            {"X": X[..., None].repeat(3, -1), "y": names[y]},
            {"x_train": X, "y_train": y[:, None], "x_test": X[:6], "y_test": y[:6, None], "classes": names},
            {"X": X.astype(np.int64), "y": y, "classes": names},
        )
        made = []
        for arrays in kinds:
            for save in (np.savez, np.savez_compressed):
                file = io.BytesIO()
                save(file, **arrays)
                made.append({self.place: file.getvalue()})
        return made

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        kind = rng.random()
        if kind < 0.5:
            return (*repacked(rng, content, damaged_npy), False)
        if kind < 0.65:
            return (*contradicting(rng, content), True)
        return (*damaged(rng, content, other), True)


class Cifar(Source):
    name, place, share = "cifar", "set", 0.5

    @cached_property
    def inputs(self):
        rng = np.random.default_rng(4)
        rows = rng.integers(0, 256, (9, _ROW), dtype=np.uint8)
        rows[:, 0] = np.arange(9) % 3
        return [
            {
                "set/data_batch_1.bin": rows[:6].tobytes(),
                "set/test_batch.bin": rows[6:].tobytes(),
                "set/batches.meta.txt": b"bird\ncat\ndog\n",
            }
        ]


class ImageCaches(Sealed):
    """A set that was decoded before; whatever happens to it, the images must be those of the source."""

    name = "cache"
    listed = True

    def prepare(self, scratch: Path) -> None:
        scratch.mkdir()
        self._source = scratch / "source.npz"
        rng = np.random.default_rng(5)
        X = rng.integers(0, 256, (12, 5, 6), dtype=np.uint8)
        np.savez(self._source, X=X, y=np.arange(12) % 3)
        os.utime(self._source, (1, 1))  # settled: its hash is remembered
        folder = scratch / "whole"
        self.whole.add(self.read(folder))
        self._files = files_in(folder)

    @cached_property
    def inputs(self):
        return [self._files]

    def read(self, folder: Path) -> str:
        images = load_images(self._source, cache=folder, n_jobs=1, validation_fraction=0)
        return digest(images.classes, images.pixels_digest, images.bad, sorted(rows_of(images)))

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        if name.endswith(".npz") and rng.random() < 0.3:
            return (*repacked(rng, content, damaged_npy), True)
        return super().change(rng, name, content, other)
