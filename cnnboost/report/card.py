"""What a model card says: how its bundle was made, and its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from cnnboost.config import Recipe
from cnnboost.deploy.bundle import FAST, SHIPPED, Bundle, shipped_bundle
from cnnboost.errors import StoreError
from cnnboost.escape import markdown_code
from cnnboost.files import read_json
from cnnboost.report.compared import modes_table, modes_text, verdicts_of
from cnnboost.report.page import render
from cnnboost.report.scores import SCORE_COLUMNS, class_table, scores_table
from cnnboost.report.sections import audit_rows, count_table, leaves
from cnnboost.report.table import Cell, Column, Table, percent

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


def render_card(recipe: Recipe, documents: Documents, words: Mapping[str, str]) -> str:
    """Write the model card of a bundle as Markdown."""
    manifest, metrics, audit, head = documents.manifest, documents.metrics, documents.audit, documents.head
    assert head is not None  # the documents were checked
    scores = head["scores"]
    present = [row for row in scores["per_class"] if row["support"]]
    columns = {
        name: SCORE_COLUMNS[name] for name in ("accuracy", "macro_f1", "log_loss", "calibration_error")
    }
    named = [("this bundle", head), ("its network alone (softmax)", metrics["cnn"])]
    members = [[name, of["bytes"]] for name, of in manifest["members"].items()]
    keys = recipe_keys(recipe, manifest["mode"])
    return render(
        "card.md.j2",
        recipe=recipe,
        words=words,
        manifest=manifest,
        metrics=metrics,
        history=documents.history,
        head=head,
        scores=scores,
        model=_name_of(documents.bundle),
        # Only modes other than `plain` have a choice of what trees are grown on.
        details=(read_json(documents.bundle.members["head.json"]) or {}).get("details", {}),
        choice=_choice(recipe, manifest),
        duration=_duration(documents.history["fit_seconds"]),
        files=Table("", [Column("file"), Column("bytes", "count")], members),
        keys=Table("", [Column("key", "code"), Column("value", "code")], keys),
        counts=None if audit is None else count_table(audit),
        audit=None if audit is None else _audit_table(audit),
        scored=scores_table("", named, columns, ""),
        per_class=class_table("", head),
        confusion=_confusion(scores),
        compared=documents.compared,
        modes=None if documents.compared is None else modes_table(documents.compared),
        verdicts=verdicts_of(documents.compared) if documents.compared else [],
        modes_text=None if documents.compared is None else modes_text(documents.compared),
        common=common_mistakes(scores),
        often=OFTEN,
        weakest=min(present, key=lambda row: row["f1"]["value"]),
        rarest=min(present, key=lambda row: row["support"]),
    )


def _name_of(bundle: Bundle) -> str:
    """Return how a bundle is called: one that ships by its name, or by none; any other by its folder."""
    name = bundle.manifest["recipe"]
    if name not in (SHIPPED, FAST):
        return "."
    try:
        ships = shipped_bundle(name).manifest == bundle.manifest
    except StoreError:  # this copy of the package has none, or a damaged one
        ships = False
    return "." if not ships else "" if name == SHIPPED else name


def _choice(recipe: Recipe, manifest: Mapping[str, Any]) -> str:
    """Return which images chose rounds, temperature and weight."""
    if manifest["mode"] == "plain":
        if recipe.boost.early_stopping_rounds is None:
            return "The recipe fixes the rounds of the trees: no images chose them"
        return "A part of train, on which no trees were grown, chose the rounds of the trees"
    chosen_on = manifest["scores"].get("chosen_on") or "images that its manifest does not name"
    weight = ", temperature and weight of the softmax" if manifest["mode"] == "blend" else " and temperature"
    return f"Rounds of the trees{weight} were chosen on {chosen_on}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _audit_table(audit: Mapping[str, Any]) -> Table:
    # The folder of the images is private.
    rows = [row for row in audit_rows(audit) if row[0] not in ("Source", "Images")]
    return Table("", [Column("what the audit found"), Column("how many")], rows)


def recipe_keys(recipe: Recipe, mode: str) -> list[tuple[str, str]]:
    """List what the recipe states of the tables that the bundle follows from, but no folder of anyone's."""
    metadata = recipe.model_dump(mode="json", exclude_unset=True, exclude={"data": {"source"}})
    if recipe.cnn.teacher:
        metadata["cnn"]["teacher"] = PurePath(recipe.cnn.teacher).name
    tables = [name for name in _STATED if name in metadata and (name != "hybrid" or mode != "plain")]
    return leaves({name: metadata[name] for name in tables})


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
