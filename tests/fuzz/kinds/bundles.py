"""Bundles, their graphs, and what they are asked to predict."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from cnnboost.deploy.graph_file import add_checksum
from cnnboost.deploy.image_files import find_images, predict_files
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import DataError, ModelError, StoreError
from tests.fuzz.damage import damaged
from tests.fuzz.kind import Damage, Kind, Sealed, digest, files_in, put, resealed
from tests.fuzz.kinds.pictures import pictures

_SEAL = len(add_checksum(b""))
MEMBERS = ("manifest.json", "hybrid.onnx", "cnn.onnx", "int8.onnx", "cnn.keras", "head.ubj", "head.json")


class Bundles(Sealed):
    name, errors = "bundle", (StoreError, ModelError)
    listed = True
    trained = True

    @cached_property
    def inputs(self):
        stored = files_in(self.originals / "run" / "models" / "toy")
        named = ("manifest.json", *json.loads(stored["manifest.json"])["members"])
        return [{name: stored[name] for name in named}]

    def read(self, folder: Path) -> str:
        parts = []
        for graph in ("hybrid", "cnn"):
            predictor = Predictor.load(folder, threads=1, graph=graph)
            X = np.random.default_rng(10).integers(0, 256, (3, *predictor.input), dtype=np.uint8)
            parts += [predictor.classes_, predictor.predict_proba(X)]
        return digest(*parts)

    def forge(self, rng, name, files, covered):
        return super().forge(rng, name, files, covered) if name == "manifest.json" else (files, covered)

    def argv(self, folder: Path) -> list[str]:
        put(folder, {"a.png": pictures("png")[0]})
        return ["predict", "--model", str(folder), str(folder / "a.png")]


class ForgedGraphs(Bundles):
    """Damaged graphs under a right checksum: they reach ONNX Runtime."""

    name, share, apart = "onnx-forged", 0.7, True

    def targets(self, files):
        return ["hybrid.onnx", "cnn.onnx"]

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        how, new = damaged(rng, content[:-_SEAL], other[:-_SEAL])
        return how, add_checksum(new), False

    def forge(self, rng, name, files, covered):
        if name in files:
            manifest = json.loads(files["manifest.json"])
            manifest["members"][name] = {
                "bytes": len(files[name]),
                "sha256": hashlib.sha256(files[name]).hexdigest(),
            }
            files["manifest.json"] = resealed(json.dumps(manifest).encode())
        return files, covered


class ImagesToPredict(Kind):
    """Names and images that a user gives: whatever they are, each has a row, or a reason."""

    name, errors = "predict", (DataError,)
    trained = True

    def prepare(self, scratch: Path) -> None:
        self._predictor = Predictor.load(self.originals / "run" / "models" / "toy", threads=1)
        super().prepare(scratch)

    @cached_property
    def inputs(self):
        images = {f"in/{i}.{suffix}": pictures(suffix)[0] for i, suffix in enumerate(("png", "jpg", "bmp"))}
        return [{**images, "list": b"in/0.png\nin/1.jpg\r\nin/2.bmp\n\n"}]

    def damage(self, rng: Random, folder: Path) -> Damage:
        found = super().damage(rng, folder)
        if rng.random() < 0.2:
            path = folder / "in" / "queue.png"
            os.mkfifo(path)
            return Damage(f"{found.how}, and a FIFO")
        return found

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        if name == "list" and rng.random() < 0.5:
            odd = (
                b"\0",
                b"/etc/hostname",
                b".",
                b"-",
                b"/dev/zero",
                b"/dev/tty",
                b"\xff\xfe",
                b"x" * 5000,
                b"in/..",
                b"\xef\xbb\xbfin/0.png",
                b"~",
                b"in/0.png/x",
            )
            return "line", content + rng.choice(odd) + b"\n", False
        return (*damaged(rng, content, other), False)

    def read(self, folder: Path) -> str:
        path = folder / "list"
        listed = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        with contextlib.chdir(folder):
            rows = list(predict_files(self._predictor, find_images(["-", "in"], listed), threads=1))
        return digest(*rows)
