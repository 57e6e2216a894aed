"""Pictures of the most confident mistakes: the images and the trained CNN are asked once more."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from cnnboost.cnn.model_file import read_model
from cnnboost.errors import DataError
from cnnboost.files import file_digest
from cnnboost.report.mistakes import Mistake, most_confident_mistakes
from cnnboost.stages.job import Job
from cnnboost.stages.training import Trained, read_history

_MISTAKES = 12
_SAME = 0.01  # another machine's last bits may turn a few labels, never so many


def why_no_pictures(job: Job) -> str | None:
    """Say what is missing for pictures of mistakes, before anything slow is imported."""
    try:
        _ = job.source
    except DataError:
        return "the images are not at hand (--data PATH names them)"
    record = read_history(job)
    path = job.models_dir / "cnn.keras"
    if record is None or not path.is_file():
        return f"the trained CNN is not at hand ({path})"
    return None


class NotTheSame(Exception):
    """What is at hand is not what was scored."""


def mistakes_of(job: Job, metrics: dict[str, Any]) -> list[Mistake]:
    """Ask the trained CNN once more, and take pictures of what it is surest of and wrong about."""
    path = job.models_dir / "cnn.keras"
    if metrics["cnn"] is None:
        raise NotTheSame("the network that was scored has no softmax of its own")
    metadata = read_history(job) or {}
    images = job.images
    if images.digest != metrics["data_digest"]:
        raise NotTheSame(f"the images at {job.source} are others than those that were scored")
    if file_digest(path) != metadata.get("model_sha256"):
        raise NotTheSame(f"{path} was altered since it was trained")
    split = images[metrics["split"]]
    trained = Trained(read_model(path), metadata["pixels"], tuple(metadata["classes"]), path, metadata, True)
    if trained.classes != tuple(metrics["classes"]):
        raise NotTheSame(f"{path} knows other classes than those that were scored")
    proba = trained.cnn.predict_proba(split.X)
    confusion = np.zeros((len(trained.classes),) * 2, dtype=np.int64)
    np.add.at(confusion, (split.y, proba.argmax(axis=1)), 1)
    moved = np.abs(confusion - np.asarray(metrics["cnn"]["scores"]["confusion"])).sum() / 2
    if moved > _SAME * len(split):
        raise NotTheSame(f"{path} is another CNN than the one that was scored; evaluate again")
    return [
        Mistake(
            png=_png(split.X[row]),
            place=str(split.ids[row]),
            truth=trained.classes[split.y[row]],
            said=trained.classes[int(proba[row].argmax())],
            probability=float(proba[row].max()),
        )
        for row in most_confident_mistakes(proba, split.y, _MISTAKES)
    ]


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
