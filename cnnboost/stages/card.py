"""manifest, history, scores, words -> the model card of a bundle. Nothing is trained or measured here."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnboost.config import BUNDLE_TABLES, Recipe, packaged
from cnnboost.config.experiment import checked
from cnnboost.deploy.bundle import CARD, Bundle, read_bundle
from cnnboost.errors import RecipeError, StoreError
from cnnboost.files import read_regular, reason_of, write_bytes
from cnnboost.report.card import Documents, render_card
from cnnboost.stages.hybrids import hybrid_layers
from cnnboost.stages.job import Job
from cnnboost.stages.reporting import expecting, read_metrics, read_optional
from cnnboost.stages.training import read_history

ENDING = ".card.md"
MOST_BYTES = 1 << 20
_HEADING = re.compile(r"^## +(.*?) *#*$", re.MULTILINE)
_SAME = 0.005  # another machine's last bits may turn a few labels, never so many


HEADINGS = {
    "use": "What it is for",
    "misuse": "What it must not be used for",
    "data": "Data",
    "failures": "Known failures",
    "biases": "Biases",
    "licence": "Licence",
}
"""What only a person can say of a model: the headings of its text, which is Markdown."""


@dataclass(frozen=True)
class Card:
    """A model card and where it was written."""

    path: Path
    text: str
    bundle: Bundle


def find_card_text(recipe: str | os.PathLike[str]) -> Path:
    """Return where the text of a recipe's card belongs, whether the file exists or not."""
    path = Path(recipe)
    if not path.is_file():
        path = packaged().get(os.fspath(recipe), path)
    return path.with_name(path.name.removesuffix(".toml") + ENDING)


def read_card_text(path: Path) -> dict[str, str]:
    """Read the text of a card, by the keys of `HEADINGS`."""
    wanted = ", ".join(f"'## {heading}'" for heading in HEADINGS.values())
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise RecipeError(
            f"{path} does not exist: a model card needs text that no file of numbers holds; write it there, "
            f"under {wanted}"
        ) from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text ({error.reason}); save it as such") from error
    _, *rest = _HEADING.split(text.replace("\r\n", "\n"))
    parts: dict[str, str] = {}
    for heading, words in zip(rest[::2], rest[1::2], strict=True):
        if heading not in HEADINGS.values():
            raise RecipeError(f"{path}: unknown section '## {heading}'; valid sections: {wanted}")
        if heading in parts:
            raise RecipeError(f"{path}: section '## {heading}' appears twice; merge the two")
        parts[heading] = words.strip()
    missing = [heading for heading in HEADINGS.values() if not parts.get(heading)]
    if missing:
        raise RecipeError(f"{path}: section '## {missing[0]}' is missing or empty; a card has: {wanted}")
    return {name: parts[heading] for name, heading in HEADINGS.items()}


def write_card(job: Job, words: Mapping[str, str]) -> Card:
    """Write the model card of a recipe's bundle beside it, from files that commands made."""
    remedy = (
        f"run {job.command('export')}, {job.command('evaluate')} and, if their files exist, compare and "
        "inspect again"
    )
    with expecting(f"the .json files in {job.models_dir} and {job.reports_dir} are", remedy):
        documents = _read_documents(job)
        text = render_card(job.recipe, documents, words)
    path = write_bytes(documents.bundle.folder / CARD, text.encode(errors="backslashreplace"))
    return Card(path, text, documents.bundle)


def _read_documents(job: Job) -> Documents:
    """Read all that a card is made from; refuse documents that are not about one bundle."""
    bundle = read_bundle(job.bundle_dir)
    history = read_history(job)
    if history is None:
        raise StoreError(
            f"{job.models_dir / 'history.json'} does not exist; {job.command('train')} writes it"
        )
    documents = Documents(
        bundle,
        history,
        read_metrics(job.reports_dir, job.command("evaluate")),
        read_optional(job.reports_dir / "compare.json", job.command("compare")),
        read_optional(job.reports_dir / "audit.json", job.command("inspect")),
    )
    _check_bundle(job, documents)
    for path, what, stated, wanted, remedy in _recorded_inputs(job, documents):
        if stated != wanted:
            raise StoreError(f"{path}: {what} is {stated!r}, but the bundle's is {wanted!r}; run {remedy}")
    return documents


def _check_bundle(job: Job, documents: Documents) -> None:
    """Refuse a bundle of another recipe, of other values, or with a head that was not scored."""
    manifest, path = documents.manifest, documents.bundle.folder / "manifest.json"
    if manifest["recipe"] != job.recipe.name:
        raise StoreError(f"{path} is of recipe {manifest['recipe']!r}; name that one")
    if documents.history.get("model_sha256") != _network(manifest) and job.bundle_dir != job.models_dir:
        raise StoreError(
            f"{path}: its CNNs were trained on parts of the images (hybrid.holdout or hybrid.folds), while "
            "the scores of the softmax are of the recipe's one CNN; such a bundle has no card"
        )
    if manifest.get("recipe_digest") != job.recipe.digest(*BUNDLE_TABLES):
        raise StoreError(
            f"{path} was made with other values than recipe {job.recipe.name!r} has now, and a card states "
            f"these; run {job.command('export')} again, or give the same --set here as there"
        )
    if documents.head is None:
        own = f"{manifest['mode']} at {manifest['layer']}, views: {manifest.get('tta', 'none')}"
        raise StoreError(
            f"{job.reports_dir / 'metrics.json'} has no scores of the bundle's own head ({own}); run "
            f"{evaluate_command(job, manifest)}"
        )


def _recorded_inputs(job: Job, documents: Documents) -> Iterator[tuple[Path, str, Any, Any, str]]:
    """Give the file, the name of an input, its recorded value, the bundle's, and what to run."""
    manifest, history, metrics = documents.manifest, documents.history, documents.metrics
    compared, audit, head, stated = documents.compared, documents.audit, documents.head, manifest["scores"]
    assert head is not None
    export, evaluate = job.command("export"), evaluate_command(job, manifest)
    digest = history.get("trained_on", {}).get("digest", metrics["data_digest"])
    images = "the digest of the images"

    record, path = job.models_dir / "history.json", job.reports_dir / "metrics.json"
    yield record, "the checksum of the CNN", history.get("model_sha256"), _network(manifest), export
    fitted = (metrics["cnn"] or {}).get("fit_seconds")
    yield path, "the time of the training", fitted, history.get("fit_seconds"), evaluate
    yield path, "the list of classes", metrics["classes"], manifest["classes"], evaluate
    yield path, "the scored split", metrics["split"], stated["split"], evaluate
    both = f"{export} and {evaluate}, both on the same images"
    n_images = metrics["images"][metrics["split"]]
    yield path, "the number of scored images", n_images, stated["images"], both
    accuracy, own = head["scores"]["accuracy"]["value"], stated["hybrid"]["accuracy"]
    yield path, "the accuracy", accuracy, accuracy if abs(accuracy - own) <= _SAME else own, both
    yield path, images, metrics["data_digest"], digest, evaluate

    if compared is not None:
        path = job.reports_dir / "compare.json"
        compare = f"{_compare_command(job, manifest)} again, or remove the file"
        yield path, images, compared.get("data_digest"), digest, compare
        networks = compared.get("networks", ())
        known = _network(manifest) if _network(manifest) in networks else networks
        yield path, "the checksum of the CNN", known, _network(manifest), compare
        trees = _trees(checked(compared["recipe_facts"], str(path)))
        yield path, "the digest of the trees' values", trees, _trees(job.recipe), compare
        if (
            manifest["mode"] != "plain"
        ):  # a plain head has its own layer; the comparison names the ones it took
            yield path, "the list of layers", compared["layers"], manifest["layers"], compare
            yield path, "the views at test time", compared["hybrid"]["tta"], manifest["tta"], compare

    if audit is not None:
        path, inspect = job.reports_dir / "audit.json", job.command("inspect")
        # Earlier versions recorded no digest; then the counts must do.
        yield path, images, audit.get("data_digest", digest), digest, inspect
        counted = {name: sum(of.values()) for name, of in audit["counts"].items()}
        yield path, "the number of images", counted, metrics["images"], inspect
        scored = {row["name"]: row["support"] for row in head["scores"]["per_class"]}
        yield path, "the number of images by class", audit["counts"][metrics["split"]], scored, inspect


def _network(manifest: Mapping[str, Any]) -> Any:
    """Return the checksum of the bundle's first CNN."""
    return manifest["members"].get("cnn.keras", {}).get("sha256")


def _trees(recipe: Recipe) -> str:
    """Return what trees follow from, but for what a bundle may have of its own."""
    apart = {"hybrid": {"mode": "plain", "layers": (), "tta": "none"}, "boost": {"device": "auto"}}
    tables = {name: getattr(recipe, name).model_copy(update=of) for name, of in apart.items()}
    return recipe.model_copy(update=tables).digest("hybrid", "boost")


def evaluate_command(job: Job, manifest: Mapping[str, Any]) -> str:
    """Write the command that scores the bundle's own head on the images of the bundle's own scores."""
    recipe = job.recipe
    if manifest["mode"] == "plain":
        layers = [] if manifest["layer"] in recipe.cut.layers else [manifest["layer"]]
    else:
        layers = [] if manifest["layers"] == list(hybrid_layers(job)) else manifest["layers"]
    at = "".join(f" --layer {shlex.quote(layer)}" for layer in layers)
    return (
        f"{job.command('evaluate')}{at} --mode {manifest['mode']} --tta {manifest.get('tta', 'none')} "
        f"--split {manifest['scores']['split']}"
    )


def _compare_command(job: Job, manifest: Mapping[str, Any]) -> str:
    """Write the command that compares the modes at the bundle's layers, over its views."""
    stated = {"layers": list(hybrid_layers(job)), "tta": job.recipe.hybrid.tta}
    own = {} if manifest["mode"] == "plain" else {key: manifest[key] for key in stated}
    return job.command("compare") + "".join(
        f" --set {shlex.quote(f'hybrid.{key}={json.dumps(value)}')}"
        for key, value in own.items()
        if value != stated[key]
    )
