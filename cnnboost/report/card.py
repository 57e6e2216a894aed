"""What a model card says: how its bundle was made, and its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from cnnboost.config import Recipe
from cnnboost.deploy.bundle import SHIPPED, Bundle, shipped_bundle
from cnnboost.errors import StoreError
from cnnboost.escape import markdown, markdown_code
from cnnboost.files import read_json
from cnnboost.report.run import audit_rows, count_table, leaves
from cnnboost.report.scores import SCORE_COLUMNS, class_table, scores_table
from cnnboost.report.sections import modes_table, modes_text
from cnnboost.report.table import Cell, Column, Table, markdown_table, percent, span

OFTEN = 0.15
"""Share of a class's images from which on a mistake is called common."""
_STATED = ("data", "cnn", "cut", "boost", "hybrid")


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
        """The bundle's own record."""
        return self.bundle.manifest

    @property
    def head(self) -> dict[str, Any] | None:
        """The scores of the bundle's own head, over the same views; None where `metrics.json` has none."""
        manifest, metrics = self.manifest, self.metrics
        if metrics.get("tta", "none") != manifest.get("tta", "none"):
            return None
        key = (manifest["layer"], manifest["mode"])
        return next((head for head in metrics["heads"] if (head["layer"], head["mode"]) == key), None)


def card_metadata(recipe: Recipe, documents: Documents) -> dict[str, Any]:
    """Return what the template of a card shows."""
    head = documents.head
    assert head is not None  # the documents were checked
    return {
        **_bundle_metadata(recipe, documents),
        **_training_metadata(recipe, documents),
        **_score_metadata(documents, head),
    }


def _bundle_metadata(recipe: Recipe, documents: Documents) -> dict[str, Any]:
    manifest, shipped = documents.manifest, _ships(documents.bundle)
    size, members, scores = manifest["input"], manifest["members"], manifest["scores"]
    files = Table(
        "", [Column("file"), Column("bytes", "count")], [[name, of["bytes"]] for name, of in members.items()]
    )
    int8 = None
    if "int8" in scores:
        graphs = {"accuracy": "int8", "exact": "hybrid"}
        int8 = {name: percent(scores[graph]["accuracy"]) for name, graph in graphs.items()}
    return {
        "name": recipe.name,
        "title": recipe.title or recipe.name,
        "shipped": shipped,
        "model": "" if shipped else " --model .",
        "classes": [markdown(name) for name in manifest["classes"]],
        "layer": manifest["layer"],
        "mode": manifest["mode"],
        "rounds": manifest["rounds"],
        "size": f"{size['width']} x {size['height']} pixels, {'grey' if size['channels'] == 1 else 'RGB'}",
        "shape": f"(n, {size['height']}, {size['width']}, {size['channels']})",
        "views": manifest.get("tta", "none"),
        "int8": int8,
        "members": markdown_table(files),
        "megabytes": f"{sum(of['bytes'] for of in members.values()) / 1e6:.1f}",
        "versions": ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
    }


def _ships(bundle: Bundle) -> bool:
    """Tell whether this very bundle is the one that is taken where none is named."""
    if bundle.manifest["recipe"] != SHIPPED:
        return False
    try:
        return shipped_bundle().manifest == bundle.manifest
    except StoreError:  # this copy of the package has none, or a damaged one
        return False


def _training_metadata(recipe: Recipe, documents: Documents) -> dict[str, Any]:
    history, manifest, audit = documents.history, documents.manifest, documents.audit
    images = history.get("trained_on", {}).get("train_images", documents.metrics["images"]["train"])
    # Only modes other than `plain` have a choice of what trees are grown on.
    head = read_json(documents.bundle.members["head.json"]) or {}
    counts = noise = None
    if audit is not None:
        counts = markdown_table(count_table(audit))
        # Where the images lie is nobody's business.
        rows = [row for row in audit_rows(audit) if row[0] not in ("Source", "Images")]
        noise = markdown_table(Table("", [Column("what the audit found"), Column("how many")], rows))
    keys = Table("", [Column("key", "code"), Column("value", "code")], recipe_keys(recipe, manifest["mode"]))
    return {
        "images": f"{images:,}",
        "grown_on": str(head.get("details", {}).get("grown_on", "train")),
        "choice": _choice(recipe, manifest),
        "counts": counts,
        "audit": noise,
        "made": _made(recipe, history, manifest),
        "keys": markdown_table(keys),
    }


def _choice(recipe: Recipe, manifest: Mapping[str, Any]) -> str:
    """Return which images chose rounds, temperature and weight."""
    if manifest["mode"] == "plain":
        if recipe.boost.early_stopping_rounds is None:
            return "The rounds of the trees stand in the recipe: no images chose them"
        return "A part of train, on which no trees were grown, chose the rounds of the trees"
    chosen_on = manifest["scores"].get("chosen_on") or "images that its manifest does not name"
    weight = ", temperature and weight of the softmax" if manifest["mode"] == "blend" else " and temperature"
    return f"Rounds of the trees{weight} were chosen on {chosen_on}"


def _made(recipe: Recipe, history: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    machine, networks = history["machine"], manifest.get("networks", 1)
    processor = f"{machine['processor']}, {machine['system']}"
    network = (
        f"Network: `{recipe.cnn.architecture}`, {history['parameters']:,} parameters, trained for "
        f"{len(history['history']['loss']):,} epochs in {_duration(history['fit_seconds'])} on a machine "
        f"with {machine['cores']} CPU cores ({processor}), seed {history['seed']}"
    )
    if networks > 1:
        network += f"; {networks} of them, with seeds one apart, whose log-probabilities are averaged"
    trees = (
        f"Trees: XGBoost, {manifest['rounds']} rounds in mode `{manifest['mode']}` on the features of "
        f"`{manifest['layer']}`"
    )
    if "temperature" in manifest:
        trees += f"; the softmax they start from is divided by a temperature of {manifest['temperature']:.2f}"
    if manifest["mode"] == "blend":
        trees += f" and weighs {manifest['weight']:.2f}"
    return [network, trees]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def recipe_keys(recipe: Recipe, mode: str) -> list[tuple[str, str]]:
    """List what the recipe states of the tables that the bundle follows from, but no folder of anyone's."""
    metadata = recipe.model_dump(mode="json", exclude_unset=True, exclude={"data": {"source"}})
    if recipe.cnn.teacher:
        metadata["cnn"]["teacher"] = PurePath(recipe.cnn.teacher).name
    tables = [name for name in _STATED if name in metadata and (name != "hybrid" or mode != "plain")]
    return leaves({name: metadata[name] for name in tables})


def _score_metadata(documents: Documents, head: Mapping[str, Any]) -> dict[str, Any]:
    metrics, compared, scores = documents.metrics, documents.compared, head["scores"]
    present = [row for row in scores["per_class"] if row["support"]]
    weakest = min(present, key=lambda row: row["f1"]["value"])
    rarest = min(present, key=lambda row: row["support"])
    columns = {
        name: SCORE_COLUMNS[name] for name in ("accuracy", "macro_f1", "log_loss", "calibration_error")
    }
    named = [("this bundle", head), ("its network alone (softmax)", metrics["cnn"])]
    if compared is not None:
        compared = {
            "text": modes_text(compared),
            "table": markdown_table(modes_table(compared)),
            "verdicts": [row["verdict"] for row in compared["summary"].values()],
        }
    return {
        "accuracy": percent(scores["accuracy"]["value"]),
        "accuracy_span": span(scores["accuracy"]["interval"]),
        "n": scores["n"],
        "split": metrics["split"],
        "confidence": f"{scores['confidence']:.0%}",
        "calibration": f"{100 * scores['calibration_error']['value']:.1f}",
        "scored": markdown_table(scores_table("", named, columns, "")),
        "verdict": head["against_cnn"]["verdict"],
        "per_class": markdown_table(class_table("", head)),
        "confusion": markdown_table(_confusion(scores)),
        "common": common_mistakes(scores),
        "often": f"{OFTEN:.0%}",
        "weakest": {"name": markdown_code(weakest["name"]), "f1": percent(weakest["f1"]["value"])},
        "rarest": {
            "name": markdown_code(rarest["name"]),
            "share": percent(rarest["support"] / scores["n"]),
            "count": f"{rarest['support']:,}",
            "recall": span(rarest["recall"]["interval"]),
        },
        "unseen": [markdown_code(row["name"]) for row in scores["per_class"] if not row["support"]],
        "cross_fitted": bool(head.get("cross_fitted")),
        "compared": compared,
    }


def _confusion(scores: Mapping[str, Any]) -> Table:
    names = [row["name"] for row in scores["per_class"]]
    rows = [
        [name, *(Cell(f"{100 * count / (sum(counts) or 1):.0f}") for count in counts)]
        for name, counts in zip(names, scores["confusion"], strict=True)
    ]
    return Table("", [Column("true class"), *(Column(name, "percent") for name in names)], rows)


def common_mistakes(scores: Mapping[str, Any]) -> list[str]:
    """List the mistakes that more than `OFTEN` of a class's images meet, the most common first."""
    names = [row["name"] for row in scores["per_class"]]
    mistakes = []
    for truth, counts in zip(names, scores["confusion"], strict=True):
        total = sum(counts)
        for predicted, count in zip(names, counts, strict=True):
            if predicted != truth and count > OFTEN * total:
                pair = f"{markdown_code(truth)} is taken for {markdown_code(predicted)}"
                text = f"{pair} on {percent(count / total)} of its images ({count:,} of {total:,})"
                mistakes.append((-count / total, text))
    return [text for _, text in sorted(mistakes)]
