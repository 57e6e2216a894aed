"""The program itself: what stands before every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import cnnboost
from cnnboost.cli import console
from cnnboost.cli.options import OnBad
from cnnboost.errors import ParameterError

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
    classes: str | None = None,
    keras: bool = True,
    **facts: Any,
) -> Any:
    """Make the job of a command; the recipe is read before anything slow is imported."""
    from cnnboost.recipe import load_recipe

    console.notes(quiet)
    order = None if classes is None else _names(classes)
    if order and facts.get("model") is None:
        raise ParameterError(
            "--classes states the order of the outputs of --model FILE, and there is none; the order of the "
            "recipe's own classes is its data.classes"
        )
    read = load_recipe(recipe, overrides or ())
    if keras:
        console.load_keras()
    from cnnboost.line import Job

    return Job(
        recipe=read,
        on_bad=on_bad.value,
        pixels=pixels.value if pixels else None,
        classes=order,
        progress=console.progress(quiet),
        **facts,
    )


def _names(text: str) -> tuple[str, ...]:
    """Read names of classes: between commas, or from a file, one on each line."""
    try:
        path = Path(text)
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(
            f"--classes {text}: cannot be read as names, one on each line: {error}"
        ) from error
    names = tuple(name.strip() for name in lines if name.strip())
    if len(names) < 2:
        raise ParameterError(f"--classes {text}: there is no such file, and it names fewer than two classes")
    return names
