"""Heads: the trees of XGBoost and what is said of them."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from cnnboost.boost import BoostClassifier
from cnnboost.errors import StoreError
from cnnboost.files import digest_of
from tests.fuzz.damage import damaged
from tests.fuzz.kind import Kind, digest
from tests.fuzz.values import damaged_json


class Heads(Kind):
    name, errors = "head", (StoreError,)
    listed = True
    trained = True

    @cached_property
    def _whole(self):
        folder = self.originals / "run" / "models" / "toy" / "heads"
        return [
            {f"head{suffix}": path.with_suffix(suffix).read_bytes() for suffix in (".ubj", ".json")}
            for path in sorted(folder.glob("*.ubj"))
        ]

    def inputs(self):
        return self._whole

    def read(self, folder: Path) -> str:
        head = BoostClassifier.load(folder / "head.ubj")
        X = np.random.default_rng(9).normal(size=(5, head.n_features_in_)).astype(np.float32)
        margin = np.zeros((5, len(head.classes_)), np.float32) if head.needs_margin_ else None
        proba = head.predict_proba(X) if margin is None else head.predict_proba(X, base_margin=margin)
        return digest(head.classes_, proba, sorted(head.details_.items(), key=str), head.evals_result_)

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        return (*(damaged_json if name.endswith(".json") else damaged)(rng, content, other), True)

    def forge(self, rng, name, files, covered):
        return forged(rng, name, files, covered)


class ForgedHeads(Heads):
    """Damaged trees under a right checksum: the documentation says that XGBoost may crash."""

    name, share, apart = "head-forged", 0.5, True

    def targets(self, files):
        return ["head.ubj"]

    def forge(self, rng, name, files, covered):
        if name not in files:
            return files, covered
        proof = {"ubj_sha256": hashlib.sha256(files[name]).hexdigest(), "ubj_bytes": len(files[name])}
        stated = json.loads(files["head.json"])
        files["head.json"] = resealed(json.dumps({**stated, **proof}).encode())
        return files, False


def forged(rng: Random, name: str, files: dict[str, bytes], covered: bool) -> tuple[dict[str, bytes], bool]:
    """Give a damaged document its right checksum in half of the cases."""
    if name.endswith(".json") and name in files and rng.random() < 0.5:
        return {**files, name: resealed(files[name])}, False
    return files, covered


def resealed(content: bytes) -> bytes:
    """Give a document that carries its own checksum the right one, if it is such a document."""
    try:
        metadata = json.loads(content)
        if not isinstance(metadata, dict):
            return content
        stated = {key: value for key, value in metadata.items() if key != "facts_sha256"}
        return json.dumps({**stated, "facts_sha256": digest_of(stated)}).encode()
    except (ValueError, RecursionError):
        return content
