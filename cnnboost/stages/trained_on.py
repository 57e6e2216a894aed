"""What a CNN was trained on, noted beside it: so other images are known as such, and heads as its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnnboost.config import Recipe
from cnnboost.files import digest_of
from cnnboost.images import ImageSet
from cnnboost.stages.job import Job, labelled_digest

FORMAT = 1
"""Of what a head is made from."""


@dataclass(frozen=True)
class TrainedOn:
    """The images and the settings that a CNN comes from."""

    digest: str
    images: int
    train_digest: str
    train_images: int
    train_labels: str
    cnn: str
    data: str

    @classmethod
    def of(cls, recipe: Recipe, images: ImageSet) -> TrainedOn:
        """Describe a training."""
        return cls(
            digest=images.digest,
            images=len(images),
            train_digest=images.train.digest,
            train_images=len(images.train),
            train_labels=labelled_digest(images.train),
            cnn=recipe.digest("cnn"),
            data=recipe.digest("data"),
        )

    @classmethod
    def read(cls, record: dict[str, Any]) -> TrainedOn | None:
        """Read it from what `history.json` holds."""
        try:
            return cls(**record["trained_on"])
        except (KeyError, TypeError):
            return None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; the keys are the attributes."""
        return asdict(self)


def head_digest(job: Job, features: str, labels: str, mode: str) -> str:
    """Hash what a head is made from."""
    boost = job.recipe.boost.model_dump(mode="json", exclude={"device"})
    return digest_of({"format": FORMAT, "features": features, "labels": labels, "boost": boost, "mode": mode})
