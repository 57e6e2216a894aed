"""bundle -> what the processes that are timed read, and the arithmetic that they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnnboost.cnn import CNNClassifier
from cnnboost.cnn.model_file import read_model
from cnnboost.deploy.bundle import Bundle
from cnnboost.features.cut import Cut
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.images import Split
from cnnboost.images.views import TTA
from cnnboost.stages.extraction import extract
from cnnboost.stages.job import Job
from cnnboost.timing import limits, paths


def features_of(job: Job, bundle: Bundle, scored: Split) -> np.ndarray:
    """Return what a head begins at: features, in other modes than `plain` with log-probabilities beside."""
    metadata = bundle.manifest
    if metadata["mode"] == "plain":
        found = extract(job.needs(), [metadata["layer"]], [scored.name])[scored.name]
        return np.asarray(found.stored[metadata["layer"]].X)
    cnn = CNNClassifier.load(bundle.members["cnn.keras"], pixels=metadata["pixels"])
    return np.concatenate(FeatureExtractor([cnn], metadata["layers"], metadata["norm"]).all(scored.X), axis=1)


def source_of(
    bundle: Bundle, folder: Path, split: Split, features: np.ndarray, threads: int | None
) -> paths.Source:
    """Write images and features to where every process reads them."""
    np.save(folder / "images.npy", split.X, allow_pickle=False)
    np.save(folder / "features.npy", features, allow_pickle=False)
    metadata = bundle.manifest
    members = {name: str(path.resolve()) for name, path in bundle.members.items()}
    return paths.Source(
        cnn=members["cnn.keras"],
        head=members["head.ubj"],
        cnn_onnx=members["cnn.onnx"],
        hybrid_onnx=members["hybrid.onnx"],
        layer=metadata["layer"],
        pixels=metadata["pixels"],
        images=str(folder / "images.npy"),
        features=str(folder / "features.npy"),
        threads=threads,
        mode=metadata["mode"],
        layers=tuple(metadata.get("layers", ())),
        temperature=metadata.get("temperature", 1.0),
        weight=metadata.get("weight", 0.0),
        norm=metadata.get("norm", False),
        tta=metadata["tta"],
    )


def operations_of(bundle: Bundle, split: Split) -> dict[str, limits.Operations]:
    """Count the arithmetic of one image, by family of paths."""
    cnn = read_model(bundle.members["cnn.keras"])
    height, width, channels = split.shape[1:]
    shape = (height, width, channels)
    metadata = bundle.manifest
    # Other modes than `plain` need the whole network.
    trunk = Cut(cnn).trunk([metadata["layer"]]) if metadata["mode"] == "plain" else cnn
    views = TTA[metadata["tta"]]
    return {
        "cnn": limits.count_operations(cnn, shape).times(views),
        "hybrid": limits.count_operations(trunk, shape).times(views),
    }
