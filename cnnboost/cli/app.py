"""The program: its options, how a command is entered, and the job that its options describe."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

import cnnboost
from cnnboost.cli import console
from cnnboost.cli.options import JobOptions
from cnnboost.deploy.bundle import is_bundle
from cnnboost.errors import ParameterError
from cnnboost.files import reason_of


class _Commands(TyperGroup):
    """The commands; an option that none of them has, but a recipe, is answered with how a recipe is told."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[__name__] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Typer has carried a copy of click's classes since 0.27, so that none can be named here.
            if type(error).__name__ == "NoSuchOption":
                _suggest_set(error, ctx.meta[__name__])
            raise


def _suggest_set(error: Any, args: list[str]) -> None:
    """Name the keys of a recipe that an unknown option looks like."""
    import difflib

    from cnnboost.config import Recipe

    tables = {name: field.annotation for name, field in Recipe.model_fields.items()}
    keys: dict[str, list[str]] = {}
    for name, table in tables.items():
        for key in getattr(table, "model_fields", ()):
            keys.setdefault(key, []).append(f"{name}.{key}")
    option = error.option_name
    name = option.lstrip("-").replace("-", "_")
    near = difflib.get_close_matches(name, keys, n=1, cutoff=0.85)
    others = [difflib.SequenceMatcher(None, option, other).ratio() for other in error.possibilities or ()]
    if not near or max(others, default=0) > difflib.SequenceMatcher(None, name, near[0]).ratio():
        return
    after = [*args, ""][args.index(option) + 1] if option in args else ""
    given = [arg.partition("=")[2] for arg in args if arg.startswith(f"{option}=")]
    value = given[0] if given else after if after and not after.startswith("-") else "..."
    ways = " or ".join(f"--set {key}={value}" for key in keys[near[0]])
    error.message = f"{error.message.rstrip('.')}. It is a key of the recipe: {ways}"
    error.possibilities = None


app = typer.Typer(
    name="cnnboost",
    cls=_Commands,
    help="Cut a trained Keras CNN, train XGBoost on its features, and measure what that bought.",
    no_args_is_help=True,
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


def command(name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enter a command: the fields of its parameter `options`, a class of options, follow its own."""

    def enter(function: Callable[..., None]) -> Callable[..., None]:
        own = dict(inspect.signature(function, eval_str=True).parameters)
        kind = own.pop("options").annotation
        hints = get_type_hints(kind, include_extras=True)
        keyword = inspect.Parameter.KEYWORD_ONLY
        shared = [
            inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])
            for field in fields(kind)
        ]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            options = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            function(options=options, **given)

        first = [parameter.replace(kind=keyword) for parameter in own.values()]
        run.__signature__ = inspect.Signature([*first, *shared])  # type: ignore[attr-defined]
        guarded: Callable[..., None] = app.command(name)(console.guarded(run))
        return guarded

    return enter


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Connect to the cluster that a command names; None where it names none."""
    if address is None:
        yield None
        return
    from cnnboost.cluster.connection import connected

    with connected(address) as client:
        yield client


def job_of(options: JobOptions, *, keras: bool = True, **more: Any) -> Any:
    """Make the job that the options of a command describe.

    The recipe is read before anything slow is imported. Without a recipe, images and model speak for
    themselves; where there are neither, it is the packaged default.
    """
    from cnnboost.config import ALWAYS_AT_HAND, load_recipe

    console.notes(options.quiet)
    settings = {**asdict(options), **more}
    recipe, overrides, classes = (settings.pop(key, None) for key in ("recipe", "overrides", "classes"))
    del settings["as_json"], settings["quiet"]
    data, model = settings["data"], settings.get("model")
    order = None if classes is None else _names(classes)
    if order and model is None:
        raise ParameterError(
            "--classes states the order of the outputs of --model FILE, and there is none; the order of the "
            "recipe's own classes is its data.classes"
        )
    _check_places(options.models, options.reports, model)
    unstated = recipe is None and (model is not None or data not in (None, ALWAYS_AT_HAND))
    read = None if unstated else load_recipe(recipe, overrides or ())
    if keras:
        console.load_keras()
    from cnnboost.stages import Job, recipe_for

    given = None
    if read is None:
        if model is not None:
            from cnnboost.cnn.model_file import read_model

            given, data = read_model(model), data or os.environ.get("CNNBOOST_DATA")
        read = recipe_for(data, model, overrides or (), given=given)
    job = Job(recipe=read, classes=order, progress=console.progress(options.quiet), **settings)
    return job if given is None else job.knowing(given=given)


def _names(text: str) -> tuple[str, ...]:
    """Read names of classes: between commas, or from a file, one on each line."""
    try:
        path = Path(text)
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(
            f"--classes {text}: cannot be read as names, one on each line: {reason_of(error)}"
        ) from error
    names = tuple(name.strip() for name in lines if name.strip())
    if len(names) < 2:
        raise ParameterError(f"--classes {text}: no such file, and it names fewer than two classes")
    return names


def _check_places(models: Path, reports: Path, model: Path | None) -> None:
    """Refuse a file where a folder is meant, and a folder where a file is."""
    for option, place in (("--models", models), ("--reports", reports)):
        if place.is_file():
            hint = f"; did you mean --model {place}?" if place.suffix in (".keras", ".h5", ".hdf5") else ""
            raise ParameterError(f"{option} {place} is a file; it names the folder that outputs go to{hint}")
        if is_bundle(place):
            raise ParameterError(
                f"{option} {place} is a bundle; it names the folder that outputs go to; did you mean "
                f"--model {place}?"
            )
    if model is not None and model.is_dir():
        inside = sorted(path for path in model.glob("*") if path.suffix in (".keras", ".h5", ".hdf5"))
        hint = f", such as {inside[0]}" if inside else "; --models names the folder that outputs go to"
        raise ParameterError(f"--model {model} is a folder; it takes a trained .keras or .h5 file{hint}")
