"""The toy hybrid, exported once, and where a path finds its parts."""

import numpy as np
import pytest

from cnnboost import stages
from cnnboost.stages.export import export
from cnnboost.timing.paths import Source


@pytest.fixture(scope="session")
def source(job_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("timing")
    job = job_in(folder)
    bundle = export(job, "fc1").bundle
    features = stages.extract(job, ["fc1"], ["validation"])["validation"].stored["fc1"].X
    np.save(folder / "images.npy", job.images.validation.X[:40])
    np.save(folder / "features.npy", features[:40])
    files = {name: str(path) for name, path in bundle.members.items()}
    return Source(
        cnn=files["cnn.keras"],
        head=files["head.ubj"],
        cnn_onnx=files["cnn.onnx"],
        hybrid_onnx=files["hybrid.onnx"],
        layer="fc1",
        pixels=bundle.manifest["pixels"],
        images=str(folder / "images.npy"),
        features=str(folder / "features.npy"),
        threads=None,
    )
