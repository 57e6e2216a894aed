"""bundle -> what the processes that are timed read, and the arithmetic that they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnnboost.cnn import CNNClassifier
from cnnboost.cnn.model_file import read_model
from cnnboost.deploy.bundle import Bundle
from cnnboost.features.cut import Cut
from cnnboost.hybrid.feature_extractor import Looks
from cnnboost.images import Split
from cnnboost.images.views import TTA
from cnnboost.stages.extraction import extract
from cnnboost.stages.job import Job
from cnnboost.timing import limits, paths


def features_of(job: Job, bundle: Bundle, scored: Split) -> np.ndarray:
    """Return what a head begins at: features, in other modes than `plain` with log-probabilities beside."""
    facts = bundle.manifest
    if facts["mode"] == "plain":
        found = extract(job.needs(), [facts["layer"]], [scored.name])[scored.name]
        return np.asarray(found.stored[facts["layer"]].X)
    cnn = CNNClassifier.load(bundle.members["cnn.keras"], pixels=facts["pixels"])
    return np.concatenate(Looks([cnn], facts["layers"], facts["norm"]).all(scored.X), axis=1)


def source_of(
    bundle: Bundle, folder: Path, split: Split, features: np.ndarray, threads: int | None
) -> paths.Source:
    """Write images and features to where every process reads them."""
    np.save(folder / "images.npy", split.X, allow_pickle=False)
    np.save(folder / "features.npy", features, allow_pickle=False)
    facts = bundle.manifest
    members = {name: str(path.resolve()) for name, path in bundle.members.items()}
    return paths.Source(
        cnn=members["cnn.keras"],
        head=members["head.ubj"],
        cnn_onnx=members["cnn.onnx"],
        hybrid_onnx=members["hybrid.onnx"],
        layer=facts["layer"],
        pixels=facts["pixels"],
        images=str(folder / "images.npy"),
        features=str(folder / "features.npy"),
        threads=threads,
        mode=facts["mode"],
        layers=tuple(facts.get("layers", ())),
        temperature=facts.get("temperature", 1.0),
        weight=facts.get("weight", 0.0),
        norm=facts.get("norm", False),
        tta=facts["tta"],
    )


def operations_of(bundle: Bundle, split: Split) -> dict[str, limits.Operations]:
    """Count the arithmetic of one image, by family of paths."""
    cnn = read_model(bundle.members["cnn.keras"])
    height, width, channels = split.shape[1:]
    shape = (height, width, channels)
    facts = bundle.manifest
    # Other modes than `plain` need the whole network.
    trunk = Cut(cnn).trunk([facts["layer"]]) if facts["mode"] == "plain" else cnn
    views = TTA[facts["tta"]]
    return {
        "cnn": limits.count_operations(cnn, shape).times(views),
        "hybrid": limits.count_operations(trunk, shape).times(views),
    }
