"""The program itself: what stands before every command."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import cnnboost
from cnnboost.cli import console
from cnnboost.cli.options import OnBad

app = typer.Typer(
    name="cnnboost",
    help="Cut a trained Keras CNN, train XGBoost on its features, and measure what that bought.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cnnboost {cnnboost.__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def make_job(
    recipe: str | None,
    overrides: list[str] | None,
    quiet: bool,
    on_bad: OnBad = OnBad.stop,
    pixels: Any = None,
    keras: bool = True,
    **facts: Any,
) -> Any:
    """Make the job of a command; the recipe is read before anything slow is imported."""
    from cnnboost.recipe import load_recipe

    console.notes(quiet)
    read = load_recipe(recipe, overrides or ())
    if keras:
        console.load_keras()
    from cnnboost.line import Job

    return Job(
        recipe=read,
        on_bad=on_bad.value,
        pixels=pixels.value if pixels else None,
        progress=console.progress(quiet),
        **facts,
    )
