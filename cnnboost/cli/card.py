"""`cnnboost card`: the model card of a recipe's bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console
from cnnboost.cli.app import app, make_job
from cnnboost.cli.options import (
    JsonOption,
    ModelsOption,
    QuietOption,
    RecipeOption,
    ReportsOption,
    SetOption,
)
from cnnboost.cli.tables import written


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
    models: ModelsOption = Path("models"),
    reports: ReportsOption = Path("reports"),
    overrides: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a bundle's model card, README.md beside it, from its scores, its training and your words."""
    job = make_job(recipe, overrides, quiet, keras=False, models=models, reports=reports)
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
    console.emit(document, as_json, lambda out: show_card(out, document))


def show_card(out: Console, document: dict[str, Any]) -> None:
    """Print where the card is and whose words it holds."""
    out.print(f"{document['recipe']}: words of {document['words']}")
    written(out, document["written"])
