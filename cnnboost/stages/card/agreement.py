"""Whether documents are about one bundle: the same network, the same images, the same recipe."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnnboost.config import BUNDLE_TABLES, Recipe
from cnnboost.config.experiment import checked
from cnnboost.errors import StoreError
from cnnboost.stages.hybrids import hybrid_layers
from cnnboost.stages.job import Job
from cnnboost.stages.reporting.documents import command

if TYPE_CHECKING:
    from cnnboost.stages.card.documents import Documents

_SAME = 0.005  # another machine's last bits may turn a few labels, never so many


def check_agreement(job: Job, documents: Documents) -> None:
    """Refuse documents that are not about one bundle."""
    _check_network(job, documents)
    _check_scores(job, documents)
    _check_images(job, documents)
    _check_comparison(job, documents)


def _check_network(job: Job, documents: Documents) -> None:
    """Hold the bundle, the recipe and the training against each other."""
    bundle, manifest, history = documents.bundle, documents.manifest, documents.history
    place = bundle.folder / "manifest.json"
    if manifest["recipe"] != job.recipe.name:
        raise StoreError(f"{place} is of recipe {manifest['recipe']!r}; name that one")
    record = job.models_dir / "history.json"
    if history.get("model_sha256") != _network(manifest):
        if job.bundle_dir != job.models_dir:
            raise StoreError(
                f"{place}: its CNNs were trained on parts of the images (hybrid.holdout or hybrid.folds), "
                f"while {record} and the scores of the softmax are of the recipe's one CNN: a card would set "
                "different networks side by side, and so there is none for such a bundle"
            )
        raise StoreError(f"{record} is of another CNN than {place}; run {command('export', job)} again")
    if manifest.get("recipe_digest") != job.recipe.digest(*BUNDLE_TABLES):
        raise StoreError(
            f"{place} was made with other values than recipe {job.recipe.name!r} has now, and a card states "
            f"these; run {command('export', job)} again, or give the same --set here as there"
        )


def _check_scores(job: Job, documents: Documents) -> None:
    """Hold `metrics.json` against the bundle: it must have scored this head, on the same split."""
    manifest, metrics = documents.manifest, documents.metrics
    place, path = documents.bundle.folder / "manifest.json", job.reports_dir / "metrics.json"
    again = _evaluate(job, manifest)
    if (metrics["cnn"] or {}).get("fit_seconds") != documents.history.get("fit_seconds"):
        raise StoreError(
            f"{path} has scores of another training than that of {job.models_dir / 'history.json'}; run "
            f"{again}"
        )
    if metrics["classes"] != manifest["classes"]:
        raise StoreError(f"{path} has other classes than {place}; run {again}")
    head = documents.head
    if head is None:
        raise StoreError(
            f"{path} has no scores of the bundle's own head ({manifest['mode']} at {manifest['layer']}, "
            f"views: {manifest.get('tta', 'none')}); run {again}"
        )
    stated, split = manifest["scores"], metrics["split"]
    if stated["split"] != split:
        raise StoreError(
            f"{path} has scores on {split}, {place} on {stated['split']}, and a card shows both as those of "
            f"one split; run {again}"
        )
    if stated["images"] != metrics["images"][split]:
        raise StoreError(
            f"{path} has scores on {metrics['images'][split]:,} images of {split}, {place} on "
            f"{stated['images']:,}; run {command('export', job)} and {again}, both on the same images"
        )
    accuracies = stated["hybrid"]["accuracy"], head["scores"]["accuracy"]["value"]
    if abs(accuracies[0] - accuracies[1]) > _SAME:
        raise StoreError(
            f"{place} states an accuracy of {accuracies[0]:.2%}, {path} {accuracies[1]:.2%}: they are "
            f"about different heads; run {command('export', job)} and {again}"
        )


def _check_images(job: Job, documents: Documents) -> None:
    """Hold scores, comparison and audit against the images that the training images came with."""
    metrics, audit = documents.metrics, documents.audit
    images = documents.history.get("trained_on", {}).get("digest", metrics["data_digest"])
    inspect = command("inspect", job)
    found = [("metrics", metrics["data_digest"], _evaluate(job, documents.manifest))]
    if documents.compared is not None:
        found.append(("compare", documents.compared.get("data_digest"), _compare(job, documents.manifest)))
    if audit is not None:
        # Earlier versions wrote down no digest; then the numbers below must do.
        found.append(("audit", audit.get("data_digest", images), inspect))
    for name, digest, make in found:
        if digest != images:
            raise StoreError(
                f"{job.reports_dir / name}.json is about other images than those that came with the training "
                f"images of the CNN; run {make} again"
            )
    if audit is None:
        return
    head, split = documents.head, metrics["split"]
    assert head is not None  # it was looked for before
    scored = {row["name"]: row["support"] for row in head["scores"]["per_class"]}
    counted = {name: sum(of.values()) for name, of in audit["counts"].items()}
    if counted != metrics["images"] or audit["counts"][split] != scored:
        raise StoreError(
            f"{job.reports_dir / 'audit.json'} counts other images than were scored; run {inspect} again"
        )


def _check_comparison(job: Job, documents: Documents) -> None:
    """Hold `compare.json` against the bundle: the same network, and trees of the same kind."""
    compared, manifest = documents.compared, documents.manifest
    if compared is None:
        return
    path = job.reports_dir / "compare.json"
    again = f"run {_compare(job, manifest)} again, or remove it"
    if _network(manifest) not in compared.get("networks", ()):
        raise StoreError(f"{path} does not say that the bundle's CNN was compared; {again}")
    if _trees(checked(compared["recipe_facts"], str(path))) != _trees(job.recipe):
        raise StoreError(f"{path} has trees of other values than those of the recipe; {again}")
    if manifest["mode"] == "plain":
        return  # its own layer and views; the comparison says which it took
    for key, name, theirs in (
        ("layers", "layers", compared["layers"]),
        ("tta", "views", compared["hybrid"]["tta"]),
    ):
        if theirs != manifest[key]:
            raise StoreError(f"{path} has other {name} ({theirs}) than the bundle ({manifest[key]}); {again}")


def _network(manifest: Mapping[str, Any]) -> Any:
    """Return the checksum of the bundle's first CNN."""
    return manifest["members"].get("cnn.keras", {}).get("sha256")


def _trees(recipe: Recipe) -> str:
    """Return what trees follow from, but for what a bundle may have of its own."""
    apart = {"hybrid": {"mode": "plain", "layers": (), "tta": "none"}, "boost": {"device": "auto"}}
    tables = {name: getattr(recipe, name).model_copy(update=of) for name, of in apart.items()}
    return recipe.model_copy(update=tables).digest("hybrid", "boost")


def _evaluate(job: Job, manifest: Mapping[str, Any]) -> str:
    """Write the command that scores the bundle's own head on the images of the bundle's own scores."""
    recipe = job.recipe
    if manifest["mode"] == "plain":
        layers = [] if manifest["layer"] in recipe.cut.layers else [manifest["layer"]]
    else:
        layers = [] if manifest["layers"] == list(hybrid_layers(job)) else manifest["layers"]
    at = "".join(f" --layer {shlex.quote(layer)}" for layer in layers)
    return (
        f"{command('evaluate', job)}{at} --mode {manifest['mode']} --tta {manifest.get('tta', 'none')} "
        f"--split {manifest['scores']['split']}"
    )


def _compare(job: Job, manifest: Mapping[str, Any]) -> str:
    """Write the command that compares the modes at the bundle's layers, over its views."""
    stated = {"layers": list(hybrid_layers(job)), "tta": job.recipe.hybrid.tta}
    own = {} if manifest["mode"] == "plain" else {key: manifest[key] for key in stated}
    return command("compare", job) + "".join(
        f" --set {shlex.quote(f'hybrid.{key}={json.dumps(value)}')}"
        for key, value in own.items()
        if value != stated[key]
    )
