"""`cnnboost predict`: images, folders, archives and lists to classes, without TensorFlow.

Which bundle predicts: the one that `--model` names; else that of the recipe that `--recipe` names; else the
one that came with the package.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnboost.cli import console, tables
from cnnboost.cli.app import app, make_job
from cnnboost.cli.options import (
    DataOption,
    JsonOption,
    ModelsOption,
    QuietOption,
    ReportsOption,
    SetOption,
)
from cnnboost.cli.predict_output import Sink, csv_file, csv_sink, json_sink, show_json, table_sink
from cnnboost.errors import DataError, ParameterError

if TYPE_CHECKING:
    from cnnboost.deploy.bundle import Bundle
    from cnnboost.deploy.prediction import Prediction

log = logging.getLogger("cnnboost")

_STDOUT = "-"
_OF_A_RECIPE = ("overrides", "data", "models", "reports")
_IN_MEMORY = 1 << 24
_REPORTED = 64


class Graph(StrEnum):
    """The graphs of a bundle."""

    hybrid = "hybrid"
    cnn = "cnn"
    int8 = "int8"


@app.command()
@console.guarded
def predict(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Images (cropped faces, for the bundle that ships), folders, .zip archives; - for a list of "
            "them, or one image, on stdin.",
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            help="A bundle or one of its .onnx files.",
            show_default="that of --recipe, else the one that ships",
        ),
    ] = None,
    csv_path: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write all probabilities; - is stdout.")
    ] = None,
    graph: Annotated[
        Graph | None,
        typer.Option(
            "--graph",
            help="The hybrid, the CNN alone, or the hybrid in 8-bit integers (faster, a little off).",
            show_default="hybrid",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=1024, help="Threads.", show_default="all cores")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            help="A recipe file, or the name of a packaged one, whose bundle predicts; where there is none, "
            "it is made first.",
            show_default="none",
        ),
    ] = None,
    data: DataOption = None,
    models: ModelsOption = Path("models"),
    reports: ReportsOption = Path("reports"),
    overrides: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Predict the class of images; a bad one is named, the rest goes on, and the exit status is 1.

    Without --model and --recipe, the bundle that ships predicts the emotion of faces. An image is taken as a
    whole, in colour or grey and of any size: give it faces that were cut out, since nothing here finds faces
    in a photograph, and an image without one gets an answer too.
    """
    if as_json and csv_path == _STDOUT:
        raise ParameterError("--json and --csv - both want stdout; give --csv a file")
    console.notes(quiet)
    source: Path | Bundle
    if model is not None:
        _refuse(
            ctx, ("recipe", *_OF_A_RECIPE), "leave {option} out, or --model, which names the bundle already"
        )
        source = model
    elif recipe is not None:
        source = _bundle(recipe, overrides, quiet, data=data, models=models, reports=reports)
    else:
        source = _shipped(ctx, graph)
    if _predict(source, graph, threads, paths, csv_path, as_json, quiet):
        raise typer.Exit(console.FAILED)


def _refuse(ctx: typer.Context, names: Sequence[str], remedy: str) -> None:
    """Refuse options that would have no effect."""
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            option = "--set" if name == "overrides" else f"--{name}"
            raise ParameterError(f"{option} is about the bundle of a recipe: {remedy.format(option=option)}")


def _shipped(ctx: typer.Context, graph: Graph | None) -> Bundle:
    """Return the bundle that ships, and say which it is."""
    from cnnboost.deploy.shipped import describe, shipped_bundle

    _refuse(
        ctx, _OF_A_RECIPE, "name the recipe with --recipe, or leave {option} out for the bundle that ships"
    )
    bundle = shipped_bundle()
    log.info("%s", describe(bundle, graph.value if graph else "hybrid"))
    return bundle


def _bundle(recipe: str, overrides: list[str] | None, quiet: bool, **metadata: Any) -> Bundle:
    """Return the recipe's bundle; it is exported first where there is none, or one of another recipe."""
    from cnnboost.config import BUNDLE_TABLES, load_recipe
    from cnnboost.deploy.bundle import is_bundle, read_bundle

    read = load_recipe(recipe, overrides or ())
    folder = metadata["models"] / read.name
    if read.hybrid.holdout or read.hybrid.folds:  # as Job.bundle_dir, which would take seconds to import
        folder /= "bundle"
    if is_bundle(folder):
        bundle = read_bundle(folder)
        if bundle.manifest.get("recipe_digest") == read.digest(*BUNDLE_TABLES):
            return bundle
        log.info("%s was exported before the recipe changed; it is exported anew", folder)
    else:
        log.info("%s holds no bundle yet; it is exported first", folder)
    job = make_job(recipe, overrides, quiet, **metadata)
    from cnnboost import stages

    return stages.export(job).bundle


def _predict(
    source: Path | Bundle,
    graph: Graph | None,
    threads: int | None,
    paths: list[str],
    csv_path: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Predict and print; return how many images could not be used."""
    from cnnboost.deploy.image_files import LIST, find_images
    from cnnboost.deploy.prediction import predict_files
    from cnnboost.deploy.predictor import Predictor

    predictor = Predictor.load(source, threads=threads, graph=graph.value if graph else "hybrid")
    found = "int8" if predictor.int8 else predictor.kind
    if graph and found != graph:
        raise ParameterError(f"--graph {graph.value}: {predictor.place} is the {found} graph")
    classes: list[str] = predictor.classes_.tolist()
    files = find_images(paths, sys.stdin.buffer if LIST in paths else ())
    done = failed = 0
    with ExitStack() as outer:
        rows: Iterator[Prediction] = outer.enter_context(
            closing(predict_files(predictor, files, threads=threads))
        )
        first = next(rows, None)
        if first is None:
            raise DataError(
                f"no image in {', '.join(paths)}; name image files, folders or .zip archives of them"
            )
        document = outer.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8"))
        with ExitStack() as stack:
            sinks: list[Sink] = []
            if csv_path == _STDOUT:
                sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
                sinks.append(csv_sink(sys.stdout, classes))
            elif csv_path is not None:
                sinks.append(csv_sink(stack.enter_context(csv_file(csv_path)), classes))
            if as_json:
                sinks.append(json_sink(document, classes))
            elif csv_path is None:
                sinks.append(table_sink(console.stdout, classes))
            bar = console.progress(quiet or not (as_json or csv_path))("predict", "image")
            report = stack.enter_context(bar)
            for row in chain([first], rows):
                for sink in sinks:
                    sink(row)
                done += 1
                failed += row.error is not None
                if done % _REPORTED == 0:
                    report(done, None)
        written = [csv_path] if csv_path not in (None, _STDOUT) else []
        if as_json:
            metadata = {key: predictor.details[key] for key in ("kind", "recipe", "layer", "mode")}
            metadata["int8"] = predictor.int8
            before = {"model": {"path": predictor.place, **metadata}, "classes": classes}
            show_json(sys.stdout, document, before, {"failed": failed, "written": written})
        elif written:
            tables.written(console.stdout, written)
    if failed:
        log.warning("%d of %d images could not be used; their rows say why", failed, done)
    else:
        log.info("%d image%s", done, "" if done == 1 else "s")
    return failed
