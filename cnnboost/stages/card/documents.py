"""The documents that a card is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cnnboost.deploy.bundle import Bundle, read_bundle
from cnnboost.errors import StoreError
from cnnboost.stages.card.agreement import check_agreement
from cnnboost.stages.job import Job
from cnnboost.stages.reporting.documents import command, read_metrics, read_optional
from cnnboost.stages.training import read_history


@dataclass(frozen=True)
class Documents:
    """What commands wrote about one bundle."""

    bundle: Bundle
    history: dict[str, Any]
    metrics: dict[str, Any]
    compared: dict[str, Any] | None
    audit: dict[str, Any] | None

    @property
    def manifest(self) -> dict[str, Any]:
        """What the bundle says of itself."""
        return self.bundle.manifest

    @property
    def head(self) -> dict[str, Any] | None:
        """The scores of the bundle's own head, over the same views; None where `metrics.json` has none."""
        manifest, metrics = self.manifest, self.metrics
        if metrics.get("tta", "none") != manifest.get("tta", "none"):
            return None
        key = (manifest["layer"], manifest["mode"])
        return next((head for head in metrics["heads"] if (head["layer"], head["mode"]) == key), None)


def read_documents(job: Job) -> Documents:
    """Read all that a card of a recipe's bundle is made from."""
    evaluate, train = command("evaluate", job), command("train", job)
    bundle = read_bundle(job.bundle_dir)
    history = read_history(job)
    if history is None:
        raise StoreError(
            f"{job.models_dir / 'history.json'}: there is no record of the training; {train} makes it"
        )
    metrics = read_metrics(job.reports_dir, evaluate)
    compared = read_optional(job.reports_dir / "compare.json", command("compare", job))
    audit = read_optional(job.reports_dir / "audit.json", command("inspect", job))
    documents = Documents(bundle, history, metrics, compared, audit)
    check_agreement(job, documents)
    return documents
