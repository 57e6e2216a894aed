"""Heads: the trees of XGBoost and what is said of them."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path

import numpy as np

from cnnboost.boost import BoostClassifier
from cnnboost.errors import StoreError
from tests.fuzz.kind import Sealed, digest, resealed


class Heads(Sealed):
    name, errors = "head", (StoreError,)
    listed = True
    trained = True

    @cached_property
    def inputs(self):
        folder = self.originals / "run" / "models" / "toy" / "heads"
        return [
            {f"head{suffix}": path.with_suffix(suffix).read_bytes() for suffix in (".ubj", ".json")}
            for path in sorted(folder.glob("*.ubj"))
        ]

    def read(self, folder: Path) -> str:
        head = BoostClassifier.load(folder / "head.ubj")
        X = np.random.default_rng(9).normal(size=(5, head.n_features_in_)).astype(np.float32)
        margin = np.zeros((5, len(head.classes_)), np.float32) if head.needs_margin_ else None
        proba = head.predict_proba(X) if margin is None else head.predict_proba(X, base_margin=margin)
        return digest(head.classes_, proba, sorted(head.details_.items(), key=str), head.evals_result_)


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
