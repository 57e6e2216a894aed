"""How a bundle was made, as a card shows it: images, network, training, trees, files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from cnnboost.config import Recipe
from cnnboost.deploy.bundle import Bundle
from cnnboost.deploy.shipped import NAME, shipped_bundle
from cnnboost.errors import StoreError
from cnnboost.escape import markdown, markdown_code
from cnnboost.files import read_json
from cnnboost.report.page import percent
from cnnboost.report.run_metadata import audit_rows, count_table, leaves
from cnnboost.stages.card.documents import Documents
from cnnboost.stages.card.tables import table

_STATED = ("data", "cnn", "cut", "boost", "hybrid")


def making_metadata(recipe: Recipe, documents: Documents) -> dict[str, Any]:
    """Give what a card says about how a bundle was made."""
    manifest, history = documents.manifest, documents.history
    shipped = _ships(documents.bundle)
    size = manifest["input"]
    members = manifest["members"]
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
        "networks": manifest.get("networks", 1),
        "images": _trained_on(documents),
        "grown_on": _grown_on(documents),
        "choice": _choice(recipe, manifest),
        "counts": _counts(documents.audit),
        "audit": _audit(documents.audit),
        "made": _made(recipe, history, manifest),
        "keys": table(["key", "value"], _keys(recipe, manifest["mode"]), words=2),
        "members": table(["file", "bytes"], [[name, f"{of['bytes']:,}"] for name, of in members.items()]),
        "megabytes": f"{sum(of['bytes'] for of in members.values()) / 1e6:.1f}",
        "versions": ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
    }


def spent(seconds: float) -> str:
    """Return a time in the unit that fits it."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _ships(bundle: Bundle) -> bool:
    """Tell whether this very bundle is the one that is taken where none is named."""
    if bundle.manifest["recipe"] != NAME:
        return False
    try:
        return shipped_bundle().manifest == bundle.manifest
    except StoreError:  # this copy of the package has none, or a damaged one
        return False


def _trained_on(documents: Documents) -> str:
    found = documents.history.get("trained_on", {}).get("train_images", documents.metrics["images"]["train"])
    return f"{found:,}"


def _grown_on(documents: Documents) -> str:
    """Say which images the trees were grown on; only modes other than `plain` have a choice."""
    head = read_json(documents.bundle.members["head.json"]) or {}
    return str(head.get("details", {}).get("grown_on", "train"))


def _choice(recipe: Recipe, manifest: Mapping[str, Any]) -> str:
    """Say which images chose rounds, temperature and weight."""
    if manifest["mode"] == "plain":
        if recipe.boost.early_stopping_rounds is None:
            return "The rounds of the trees stand in the recipe: no images chose them"
        return "A part of train, on which no trees were grown, chose the rounds of the trees"
    chosen_on = manifest["scores"].get("chosen_on") or "images that its manifest does not name"
    weight = ", temperature and weight of the softmax" if manifest["mode"] == "blend" else " and temperature"
    return f"Rounds of the trees{weight} were chosen on {chosen_on}"


def _counts(audit: Mapping[str, Any] | None) -> str | None:
    found = count_table(audit)
    if not found["counts"]:
        return None
    names = found["count_classes"]
    rows = []
    for i, name in enumerate(names):
        row = [markdown(name)]
        for _, of in found["counts"]:
            row.append(f"{of[i]:,} ({percent(of[i] / (sum(of) or 1))})")
        rows.append(row)
    rows.append(["all", *(f"{sum(of):,}" for _, of in found["counts"])])
    return table(["class", *(split for split, _ in found["counts"])], rows)


def _audit(audit: Mapping[str, Any] | None) -> str | None:
    """Write what the audit found of noise; where the images lie is nobody's business."""
    rows = [list(row) for row in audit_rows(audit) if row[0] not in ("Source", "Images")]
    return table(["what the audit found", "how many"], rows, words=2) if rows else None


def _made(recipe: Recipe, history: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    machine = history["machine"]
    epochs = len(history["history"]["loss"])
    network = (
        f"Network: `{recipe.cnn.architecture}`, {history['parameters']:,} parameters, trained for {epochs:,} "
        f"epochs in {spent(history['fit_seconds'])} on a machine with {machine['cores']} CPU cores "
        f"({machine['processor']}, {machine['system']}), seed {history['seed']}"
    )
    networks = manifest.get("networks", 1)
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


def _keys(recipe: Recipe, mode: str) -> list[list[str]]:
    """List what the recipe states of the tables that the bundle follows from, but no folder of anyone's."""
    metadata = recipe.model_dump(mode="json", exclude_unset=True, exclude={"data": {"source"}})
    if recipe.cnn.teacher:
        metadata["cnn"]["teacher"] = PurePath(recipe.cnn.teacher).name
    tables = [name for name in _STATED if name in metadata and (name != "hybrid" or mode != "plain")]
    ordered = {name: metadata[name] for name in tables}
    return [[markdown_code(key), markdown_code(str(value))] for key, value in leaves(ordered)]
