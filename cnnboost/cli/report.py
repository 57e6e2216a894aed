"""The command that writes the page of a recipe, or the one over all recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console
from cnnboost.cli.app import app, make_job
from cnnboost.cli.options import (
    DataOption,
    JsonOption,
    ModelsOption,
    OnBad,
    OnBadOption,
    QuietOption,
    RecipeOption,
    ReportsOption,
    SetOption,
)
from cnnboost.cli.tables import written

_MODELS, _REPORTS = Path("models"), Path("reports")


@app.command()
@console.guarded
def report(
    pictures: Annotated[
        bool,
        typer.Option("--pictures/--no-pictures", help="Show images of the data set: examples, mistakes."),
    ] = True,
    every: Annotated[
        bool, typer.Option("--all", help="The page over all recipes in the reports folder.")
    ] = False,
    recipe: RecipeOption = None,
    data: DataOption = None,
    models: ModelsOption = _MODELS,
    reports: ReportsOption = _REPORTS,
    overrides: SetOption = None,
    on_bad: OnBadOption = OnBad.stop,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write index.html, one self-contained page, from the scores, audit, latencies and figures there are."""
    if every and (recipe is not None or overrides):
        raise typer.BadParameter("it is about all recipes: leave out --recipe and --set", param_hint="--all")
    if every:
        console.notes(quiet)
        from cnnboost.stages.reporting import report_all

        found = report_all(reports)
    else:
        job = make_job(
            recipe, overrides, quiet, on_bad, keras=False, data=data, models=models, reports=reports
        )
        from cnnboost.stages import reporting

        # Keras costs seconds, and only pictures of mistakes need it.
        if pictures and reporting.why_no_pictures(job) is None:
            console.load_keras()
        found = reporting.report(job, pictures=pictures)
    document = {
        "recipes": found.recipes,
        "figures": found.figures,
        "pictures_of_mistakes": found.mistakes,
        "why_no_pictures": found.why_no_pictures,
        "warnings": found.warnings,
        "written": [str(found.path)],
    }
    console.emit(document, as_json, lambda out: show_report(out, document, every))


def show_report(out: Console, document: dict[str, Any], every: bool) -> None:
    """Print what the page shows and where it is."""
    if every:
        out.print(f"recipes: {', '.join(document['recipes'])}")
    else:
        out.print(f"figures: {len(document['figures'])}")
        reason = document["why_no_pictures"]
        shown = f"none, {reason}" if reason else str(document["pictures_of_mistakes"])
        out.print(f"pictures of mistakes: {shown}")
        for warning in document["warnings"]:
            out.print(f"note: {warning}")
    written(out, document["written"])
