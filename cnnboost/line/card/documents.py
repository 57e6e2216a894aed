"""The documents that a card is made from, read and held against each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from cnnboost.deploy.bundle import Bundle, read_bundle
from cnnboost.errors import StoreError
from cnnboost.line.job import Job
from cnnboost.line.reporting.documents import command, read_metrics, read_optional
from cnnboost.recipe import BUNDLE_TABLES

log = logging.getLogger("cnnboost")

_SAME = 0.005  # another machine's last bits may turn a few labels, never so many


@dataclass(frozen=True)
class Documents:
    """What commands wrote about one bundle.

    Attributes
    ----------
    bundle : Bundle
    history : dict
        Of the training: `history.json`.
    metrics : dict
        Of the evaluation: `metrics.json`.
    compared : dict or None
        `compare.json`, where the modes were compared.
    audit : dict or None
        `audit.json`, where the images were audited.
    """

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
    """Read all that a card of a recipe's bundle is made from.

    Parameters
    ----------
    job : Job
        No images are read.

    Returns
    -------
    Documents

    Raises
    ------
    StoreError
        If one that is needed is missing or damaged, or they are about different networks or images.
    """
    evaluate, train = command("evaluate", job), command("train", job)
    bundle = read_bundle(job.models_dir)
    path = job.models_dir / "history.json"
    history = read_optional(path, train)
    if history is None:
        raise StoreError(f"{path}: there is no record of the training; {train} makes it")
    metrics = read_metrics(job.reports_dir, evaluate)
    compared = read_optional(job.reports_dir / "compare.json", command("compare", job))
    audit = read_optional(job.reports_dir / "audit.json", command("inspect", job))
    documents = Documents(bundle, history, metrics, compared, audit)
    _check(job, documents)
    return documents


def _check(job: Job, documents: Documents) -> None:
    """Refuse documents that are not about one network and the same images."""
    bundle, manifest, folder = documents.bundle, documents.manifest, job.reports_dir
    history, metrics, compared = documents.history, documents.metrics, documents.compared
    place = bundle.folder / "manifest.json"
    if manifest["recipe"] != job.recipe.name:
        raise StoreError(f"{place} is of recipe {manifest['recipe']!r}; name that one")
    if history.get("model_sha256") != manifest["members"].get("cnn.keras", {}).get("sha256"):
        raise StoreError(
            f"{bundle.folder / 'history.json'} is of another CNN than {place}; run "
            f"{command('export', job)} again"
        )
    if metrics["cnn"].get("fit_seconds") != history.get("fit_seconds"):
        raise StoreError(
            f"{folder / 'metrics.json'} has scores of another training than that of "
            f"{bundle.folder / 'history.json'}; run {command('evaluate', job)} again"
        )
    head = documents.head
    tta = manifest.get("tta", "none")
    again = f"{command('evaluate', job)} --mode {manifest['mode']} --tta {tta}"
    if head is None:
        raise StoreError(
            f"{folder / 'metrics.json'} has no scores of the bundle's own head ({manifest['mode']} at "
            f"{manifest['layer']}, views: {tta}); run {again}"
        )
    stated = manifest["scores"]["hybrid"]["accuracy"]
    found = head["scores"]["accuracy"]["value"]
    if manifest["scores"]["split"] == metrics["split"] and abs(stated - found) > _SAME:
        raise StoreError(
            f"{place} states an accuracy of {stated:.2%}, {folder / 'metrics.json'} {found:.2%}: they are "
            f"about different heads; run {command('export', job)} and {again}"
        )
    if metrics["classes"] != manifest["classes"]:
        raise StoreError(
            f"{folder / 'metrics.json'} has other classes than {place}; run {command('evaluate', job)} again"
        )
    images = history.get("trained_on", {}).get("digest", metrics["data_digest"])
    for name, of, make in (("metrics", metrics, "evaluate"), ("compare", compared, "compare")):
        if of is not None and of.get("data_digest") != images:
            raise StoreError(
                f"{folder / name}.json has scores on other images than those that came with the training "
                f"images of the CNN; run {command(make, job)} again"
            )
    if manifest.get("recipe_digest") != job.recipe.digest(*BUNDLE_TABLES):
        log.warning(
            "recipe %r was changed since its bundle was exported; %s brings it up to date",
            job.recipe.name, command("export", job),
        )  # fmt: skip
