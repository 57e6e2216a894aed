"""The commands that write documents for people: the report pages and the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console
from cnnboost.cli.app import app, command, job_of
from cnnboost.cli.options import (
    JobOptions,
    JsonOption,
    ModelsOption,
    QuietOption,
    RecipeOption,
    ReportsOption,
    SetOption,
)
from cnnboost.cli.tables import written

_MODELS, _REPORTS = Path("models"), Path("reports")


@command()
def report(
    options: JobOptions,
    pictures: Annotated[
        bool,
        typer.Option("--pictures/--no-pictures", help="Show images of the data set: examples, mistakes."),
    ] = True,
    every: Annotated[
        bool, typer.Option("--all", help="The page over all recipes in the reports folder.")
    ] = False,
) -> None:
    """Write index.html, one self-contained page, from the scores, audit, latencies and figures there are."""
    if every and (options.recipe is not None or options.overrides):
        raise typer.BadParameter("it is about all recipes: leave out --recipe and --set", param_hint="--all")
    if every:
        console.notes(options.quiet)
        from cnnboost.stages.reporting import report_all

        made = report_all(options.reports)
    else:
        job = job_of(options, keras=False)
        from cnnboost.stages import reporting

        # Keras costs seconds, and only pictures of mistakes need it.
        if pictures and reporting.why_no_pictures(job) is None:
            console.load_keras()
        made = reporting.report(job, pictures=pictures)
    console.emit(made.shown, options.as_json, _show_recipes if every else _show_report)


def _show_recipes(out: Console, document: dict[str, Any]) -> None:
    out.print(f"recipes: {', '.join(document['recipes'])}")
    written(out, document["written"])


def _show_report(out: Console, document: dict[str, Any]) -> None:
    out.print(f"figures: {len(document['figures'])}")
    reason = document["why_no_pictures"]
    shown = f"none, {reason}" if reason else str(document["pictures_of_mistakes"])
    out.print(f"pictures of mistakes: {shown}")
    for warning in document["warnings"]:
        out.print(f"note: {warning}")
    written(out, document["written"])


@app.command()
@console.guarded
def card(
    words: Annotated[
        Path | None,
        typer.Option(
            "--words",
            help="Text file: what it is for, what not, data, failures, biases, licence.",
            show_default="<recipe>.card.md beside the recipe",
        ),
    ] = None,
    recipe: RecipeOption = None,
    models: ModelsOption = _MODELS,
    reports: ReportsOption = _REPORTS,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a bundle's model card, README.md beside it, from its scores, its training and your words."""
    options = JobOptions(recipe, models=models, reports=reports, overrides=overrides, quiet=quiet)
    job = job_of(options, keras=False)
    from cnnboost.config.load import DEFAULT
    from cnnboost.stages.card import find_card_text, read_card_text, write_card

    source = words or find_card_text(recipe or DEFAULT)
    made = write_card(job, read_card_text(source))
    document = {
        "recipe": job.recipe.name,
        "bundle": str(made.bundle.folder),
        "words": str(source),
        "written": [str(made.path)],
    }
    console.emit(document, as_json, _show_card)


def _show_card(out: Console, document: dict[str, Any]) -> None:
    out.print(f"{document['recipe']}: text of {document['words']}")
    written(out, document["written"])
