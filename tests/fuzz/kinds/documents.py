"""What commands write about a run, and pages and cards read again."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from random import Random

from cnnboost.errors import RecipeError, StoreError
from cnnboost.stages.card import read_card_text, write_card
from cnnboost.stages.reporting import report, report_all
from tests.fuzz.kind import Sealed, digest, files_in
from tests.fuzz.originals import WORDS, toy_job


class Documents(Sealed):
    errors = (StoreError,)
    trained = True

    @cached_property
    def inputs(self):
        reports = files_in(self.originals / "run" / "reports")
        return [{f"reports/{name}": content for name, content in reports.items() if name.endswith(".json")}]

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        return (*super().change(rng, name, content, other)[:2], name.endswith(".json"))


class Reports(Documents):
    name, share = "report", 2.0

    def read(self, folder: Path) -> str:
        found = report(toy_job(self.originals / "run", reports=folder / "reports"), pictures=False)
        return digest(found.path.read_bytes())

    def argv(self, folder: Path) -> list[str]:
        recipe = self.originals / "run" / "toy.toml"
        return ["report", "--no-pictures", "-r", str(recipe), "--reports", str(folder / "reports")]


class Overviews(Documents):
    """The page over all recipes."""

    name, share = "report-all", 0.7

    def targets(self, files):
        return ["reports/toy/metrics.json"]

    def read(self, folder: Path) -> str:
        return digest(report_all(folder / "reports").path.read_bytes())

    def argv(self, folder: Path) -> list[str]:
        return ["report", "--all", "--reports", str(folder / "reports")]


class Cards(Documents):
    name, share = "card", 1.5
    errors = (StoreError, RecipeError)

    @cached_property
    def inputs(self):
        models = self.originals / "run" / "models" / "toy"
        members = json.loads((models / "manifest.json").read_text())["members"]
        files = {
            f"models/toy/{name}": (models / name).read_bytes()
            for name in ("manifest.json", "history.json", *members)
        }
        return [{**super().inputs[0], **files, "words.md": WORDS.encode()}]

    def targets(self, files):
        return [name for name in files if name.endswith((".json", ".md"))]

    def read(self, folder: Path) -> str:
        job = toy_job(self.originals / "run", models=folder / "models", reports=folder / "reports")
        return digest(write_card(job, read_card_text(folder / "words.md")).path.read_bytes())

    def argv(self, folder: Path) -> list[str]:
        recipe = self.originals / "run" / "toy.toml"
        return [
            "card",
            "-r",
            str(recipe),
            "--words",
            str(folder / "words.md"),
            "--models",
            str(folder / "models"),
            "--reports",
            str(folder / "reports"),
        ]
