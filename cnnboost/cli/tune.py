"""`cnnboost tune`: the search of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from cnnboost.cli import console, tables
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

_SHOWN = 10


@app.command()
@console.guarded
def tune(
    recipe: RecipeOption = None,
    data: DataOption = None,
    models: ModelsOption = Path("models"),
    reports: ReportsOption = Path("reports"),
    overrides: SetOption = None,
    on_bad: OnBadOption = OnBad.stop,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search values for keys of a recipe ([search]); a search that was killed goes on."""
    job = make_job(recipe, overrides, quiet, on_bad, data=data, models=models, reports=reports)
    from cnnboost.search import search

    found = search(job)
    document = {**found.document, "written": [str(found.path)]}
    console.emit(document, as_json, lambda out: show_trials(out, document))


def show_trials(out: Console, document: dict[str, Any]) -> None:
    """Print the best trials.

    Parameters
    ----------
    out : rich.console.Console
    document : dict
        Of `tune`.
    """
    failed = [trial for trial in document["trials"] if trial["value"] is None]
    ended = [trial for trial in document["trials"] if trial["value"] is not None]
    ended.sort(key=lambda trial: trial["value"], reverse=document["metric"] != "log_loss")
    keys = list(document["best"]["values"])
    table = tables.new_table("trial", document["metric"], *keys, "s", numbers=["trial", *keys, "s"])
    for trial in ended[:_SHOWN]:
        cells = [_cell(trial["values"].get(key)) for key in keys]
        table.add_row(str(trial["number"]), f"{trial['value']:.4f}", *cells, f"{trial['seconds']:.1f}")
    out.print(
        f"{document['title'] or document['recipe']}: {len(ended)} trials, {len(failed)} failed; "
        f"{document['target']} judged on {document['judged_on']} "
        f"({document['images']['validation']:,} images that no trial was fitted on)",
        markup=False,
    )
    out.print(table)
    tables.written(out, document["written"])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
