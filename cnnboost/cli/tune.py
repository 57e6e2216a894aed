"""`cnnboost tune`: the search of a recipe, and its studies."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console, tables
from cnnboost.cli.app import command, job_of
from cnnboost.cli.options import JobOptions
from cnnboost.escape import counted

_SHOWN = 10


@command()
def tune(
    options: JobOptions,
    study: Annotated[
        list[str] | None,
        typer.Option(
            "--study",
            metavar="NAME",
            help="A study of the recipe, in place of its search table; may be given more than once.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="The search table, if it states a space, and every study.")
    ] = False,
) -> None:
    """Search values for keys of a recipe, as its search table or its studies say; a killed search goes on."""
    if every and study:
        raise typer.BadParameter("it names every study; leave --study away", param_hint="--all")
    job = job_of(options)
    from cnnboost.search import plan, search

    names: list[str | None] = [*dict.fromkeys(study or [])] or [None]
    if every:
        names = [*([None] if job.recipe.search.space else []), *job.recipe.studies] or [None]
    for name in names:
        plan(job.recipe, name)  # a mistake in the last study must show before the first one runs
    documents = []
    for name in names:
        documents.append(search(job, name).shown)
        if not options.as_json:
            show_trials(console.stdout, documents[-1])
    if options.as_json:
        several = {"recipe": job.recipe.name, "studies": documents}
        console.emit_json(documents[0] if len(documents) == 1 else several)


def show_trials(out: Console, document: dict[str, Any]) -> None:
    """Print the best trials of a search, and what its keys are worth."""
    from cnnboost.report.searches import ranked
    from cnnboost.report.table import setting, settings

    ended, failed = ranked(document["trials"], document["metric"])
    keys = list(document["best"]["values"])
    table = tables.new_table("trial", document["metric"], *keys, "s", numbers=["trial", *keys, "s"])
    for trial in ended[:_SHOWN]:
        cells = [setting(trial["values"].get(key)) for key in keys]
        table.add_row(str(trial["number"]), f"{trial['value']:.4f}", *cells, f"{trial['seconds']:.1f}")
    name = f"{document['study']}: " if document["study"] else ""
    out.print(
        f"{name}{document['title'] or document['recipe']}: {counted(len(ended), 'trial')}, "
        f"{len(failed)} failed; {document['target']} scored on {document['judged_on']} "
        f"({document['images']['validation']:,} images that no trial was fitted on)",
    )
    if document["set"]:
        out.print(f"in every trial: {settings(document['set'])}")
    out.print(table)
    if failed:
        out.print(f"the last failure: {failed[-1]['error']}")
    if document["importances"]:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in document["importances"].items())
        out.print(f"importance: {shares}")
    tables.written(out, document["written"])
