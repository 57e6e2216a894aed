"""Model files of Keras."""

from __future__ import annotations

import gc
from functools import cached_property
from pathlib import Path
from random import Random

from cnnboost.cnn.model_file import read_model
from cnnboost.errors import ModelError
from tests.fuzz.archives import contradicting, repacked
from tests.fuzz.damage import damaged
from tests.fuzz.kind import Kind, digest
from tests.fuzz.values import damaged_json


class KerasFiles(Kind):
    name, errors, share = "keras", (ModelError,), 2.0
    trained = True
    suffix = ".keras"
    _count = 0

    @cached_property
    def inputs(self):
        return [
            {f"model{self.suffix}": path.read_bytes()}
            for path in sorted((self.originals / "networks").glob(f"*{self.suffix}"))
        ]

    def read(self, folder: Path) -> str:
        import keras

        self._count += 1
        if self._count % 50 == 0:  # Keras holds on to what it has built
            keras.backend.clear_session()
            gc.collect()
        model = read_model(folder / f"model{self.suffix}")
        return digest(model.to_json(), *model.get_weights())

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        kind = rng.random()
        if kind < 0.5:
            return (*repacked(rng, content, self._member), False)
        if kind < 0.65:
            return (*contradicting(rng, content), True)
        return (*damaged(rng, content, other), True)

    @staticmethod
    def _member(rng: Random, content: bytes) -> bytes:
        return (damaged_json if content[:1] == b"{" else damaged)(rng, content)[1]

    def argv(self, folder: Path) -> list[str]:
        return ["layers", "--model", str(folder / f"model{self.suffix}")]


class LegacyFiles(KerasFiles):
    name, share, suffix = "h5", 1.0, ".h5"

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        return (*damaged(rng, content, other), False)
