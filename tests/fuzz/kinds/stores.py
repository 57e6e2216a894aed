"""The store of features, and the file of a teacher."""

from __future__ import annotations

import contextlib
import hashlib
import json
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from cnnboost.cnn.teacher import read_teacher, write_teacher
from cnnboost.errors import DataError, FeatureError, StoreError
from cnnboost.features.store import FeatureSpec, FeatureStore
from tests.fuzz.archives import contradicting, damaged_npy, repacked
from tests.fuzz.damage import damaged
from tests.fuzz.kind import Damage, Kind, digest, files_in, put, special
from tests.fuzz.values import damaged_json

_ROWS, _WIDTH, _CHUNK = 20, 6, 4
_SPEC = FeatureSpec("fc1", trunk="ab12", width=_WIDTH, pixels="raw", images="cd34", rows=_ROWS)
_VALUES = np.random.default_rng(6).normal(size=(_ROWS, _WIDTH)).astype(np.float32)


class _Interrupted(Exception):
    pass


class Features(Kind):
    """Finished features and half finished ones; whatever happens to them, the rows must be the true ones."""

    name, errors = "features", (StoreError, FeatureError)
    listed = True

    @cached_property
    def inputs(self):
        finished, half = self.originals / "finished", self.originals / "half"
        self._extract(finished)
        with contextlib.suppress(_Interrupted):
            self._extract(half, stop=12)
        return [files_in(finished), files_in(half)]

    def _extract(self, folder: Path, stop: int = _ROWS) -> np.ndarray:
        def compute(start: int, end: int, wanted):
            if start >= stop:
                raise _Interrupted
            return [_VALUES[start:end] for _ in wanted]

        return FeatureStore(folder, part_rows=_CHUNK).extract([_SPEC], compute, chunk=_CHUNK)[0].X

    def read(self, folder: Path) -> str:
        return digest(np.array(self._extract(folder)))

    def damage(self, rng: Random, folder: Path) -> Damage:
        if rng.random() < 0.97:
            return super().damage(rng, folder)
        put(folder, rng.choice(self.inputs))
        return Damage(f"the lock is {special(rng, folder / f'{_SPEC.key[:16]}.lock')}", True)

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        if name.endswith(".json"):
            return (*damaged_json(rng, content), True)
        if rng.random() < 0.3:
            return "array", damaged_npy(rng, content), True
        return (*damaged(rng, content), True)

    def forge(self, rng, name, files, covered):
        record = f"{name.removesuffix('.npy')}.json"
        if name.endswith(".npy") and record in files and rng.random() < 0.3:
            proof = {"sha256": hashlib.sha256(files[name]).hexdigest(), "size": len(files[name])}
            files[record] = json.dumps({**json.loads(files[record]), **proof}).encode()
            covered = False
        return files, covered


class Teachers(Kind):
    name, errors = "teacher", (DataError,)

    @cached_property
    def inputs(self):
        self._X = np.random.default_rng(7).integers(0, 256, (9, 4, 4, 1), dtype=np.uint8)
        proba = np.random.default_rng(8).dirichlet([1, 1, 1], 9)
        path = write_teacher(
            self.originals / "teacher.npz", np.log(proba), self._X, ["a", "b", "c"], "made from"
        )
        return [{"teacher.npz": path.read_bytes()}]

    def read(self, folder: Path) -> str:
        return digest(read_teacher(folder / "teacher.npz", self._X, ["a", "b", "c"]))

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        kind = rng.random()
        if kind < 0.5:
            return (*repacked(rng, content, damaged_npy), False)
        if kind < 0.65:
            return (*contradicting(rng, content), True)
        return (*damaged(rng, content), True)
