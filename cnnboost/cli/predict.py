"""`cnnboost predict`: images, folders, archives and lists to classes, without TensorFlow.

The bundle is the one that `--model` names; else that of the recipe that `--recipe` names; else the one that
comes with the package.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cnnboost.cli import console
from cnnboost.cli.app import app, cluster, job_of
from cnnboost.cli.options import (
    DaskOption,
    DataOption,
    Graph,
    GraphOption,
    JobOptions,
    JsonOption,
    ModelsOption,
    QuietOption,
    ReportsOption,
    SetOption,
    ThreadsOption,
)
from cnnboost.cli.predict_clip import predict_clip
from cnnboost.cli.predict_output import STDOUT, write_predictions
from cnnboost.errors import DataError, ParameterError
from cnnboost.escape import counted

if TYPE_CHECKING:
    from cnnboost.deploy.bundle import Bundle
    from cnnboost.deploy.predictor import Predictor

log = logging.getLogger("cnnboost")

_OF_A_RECIPE = ("overrides", "data", "models", "reports")


def _stated(value: str | None) -> None:
    if value is not None:
        raise typer.BadParameter(
            "a bundle states the scale of its pixels and its classes itself; leave it out"
        )


@app.command()
@console.guarded
def predict(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Images (photographs or cropped faces, for the bundle that ships), folders, .zip archives; "
            "- for a list of them, or one image, on stdin. Or one clip.",
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
    graph: GraphOption = None,
    threads: ThreadsOption = None,
    faces: Annotated[
        bool | None,
        typer.Option(
            "--faces/--whole",
            help="Find the faces of each image and predict every one; or take each image as a whole.",
            show_default="faces of images that are not crops, where the bundle wants faces",
        ),
    ] = None,
    annotated: Annotated[
        Path | None,
        typer.Option("--annotated", metavar="FILE", help="Of a clip: write it with boxes and labels, .mp4."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            help="A recipe file, or the name of a packaged one, whose bundle predicts; it is made first if "
            "it does not exist.",
            show_default="none",
        ),
    ] = None,
    pixels: Annotated[str | None, typer.Option("--pixels", hidden=True, callback=_stated)] = None,
    classes: Annotated[str | None, typer.Option("--classes", hidden=True, callback=_stated)] = None,
    dask: DaskOption = None,
    data: DataOption = None,
    models: ModelsOption = Path("models"),
    reports: ReportsOption = Path("reports"),
    overrides: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Predict the class of images; a bad one is named, the rest goes on, and the exit status is 1.

    Without --model and --recipe, the bundle that ships predicts the emotion of faces. It finds them in
    photographs, which are images of more than twice its own 48 x 48 pixels that no single face fills; smaller
    ones are taken for faces that were cut out. --whole takes every image as a whole, and an image without a
    face gets an answer then, too. Of a clip there is a row for each face of each frame.
    """
    if as_json and csv_path == STDOUT:
        raise ParameterError("--json and --csv - both want stdout; give --csv a file")
    _check_outputs(paths, csv_path, annotated)
    console.notes(quiet)
    source: Path | Bundle
    if model is not None:
        _refuse(
            ctx, ("recipe", *_OF_A_RECIPE), "leave {option} out, or --model, which names the bundle already"
        )
        source = model
    elif recipe is not None:
        source = _of_recipe(recipe, overrides, quiet, data=data, models=models, reports=reports)
    else:
        source = _shipped(ctx, graph or "hybrid")
    from cnnboost.deploy.image_files import STDIN, find_images, predict_files, predict_on_cluster
    from cnnboost.faces.clip import is_clip

    predictor = load_predictor(source, graph, threads)
    if any(map(is_clip, paths)):
        if dask is not None:
            raise ParameterError(f"--dask {dask}: a clip is read by one machine; leave it out")
        predict_clip(predictor, paths, csv_path, annotated, as_json, quiet, faces=faces, threads=threads)
        return
    if annotated is not None:
        raise ParameterError(f"--annotated {annotated} is about a clip; leave it out, or give one clip")
    looking: Literal["never", "large", "always"] = "never"
    if faces or (faces is None and predictor.wants == "face"):
        looking = "always" if faces else "large"
    with cluster(dask) as client:
        files = find_images(paths, sys.stdin.buffer if STDIN in paths else ())
        if client is None:
            rows = predict_files(predictor, files, threads=threads, faces=looking)
        else:
            seen = [path for path in paths if path != STDIN]
            rows = predict_on_cluster(client, predictor, files, seen, faces=looking)
        done = write_predictions(rows, predictor, csv_path, as_json, quiet, faces=looking != "never")
    if not done.images:
        raise DataError(f"no image in {', '.join(paths)}; name image files, folders or .zip archives of them")
    if done.faceless:
        log.info("no face was found in %d of %d images", done.faceless, done.images)
    if done.failed:
        log.warning("%d of %d images could not be used; see their rows", done.failed, done.images)
        raise typer.Exit(console.FAILED)
    log.info("%s", counted(done.images, "image"))


def load_predictor(source: Path | Bundle, graph: Graph | None, threads: int | None) -> Predictor:
    """Load a graph of a bundle, or a file, which must be of the graph that was asked for."""
    from cnnboost.deploy.predictor import Predictor

    predictor = Predictor.load(source, threads=threads, graph=graph or "hybrid")
    if graph and predictor.graph != graph:
        raise ParameterError(f"--graph {graph}: {predictor.place} is the {predictor.graph} graph")
    return predictor


def _check_outputs(paths: Sequence[str], csv_path: str | None, annotated: Path | None) -> None:
    """Refuse to write over what is predicted, as `--csv` without its FILE would."""
    from cnnboost.faces.clip import is_clip
    from cnnboost.images.kinds import named_as_image

    if csv_path is not None and (
        named_as_image(csv_path) or is_clip(csv_path) or csv_path.lower().endswith(".zip")
    ):
        raise ParameterError(
            f"--csv {csv_path}: that is the name of an image, a clip or an archive; name a .csv file"
        )
    for option, output in (("--csv", csv_path), ("--annotated", annotated)):
        if output is None or output == STDOUT or not Path(output).is_file():
            continue
        # pathlib's `exists` raises for a name that is too long.
        if any(os.path.exists(path) and Path(path).samefile(output) for path in paths):  # noqa: PTH110
            raise ParameterError(f"{option} {output} is among the files to predict; name another file")


def _refuse(ctx: typer.Context, names: Sequence[str], remedy: str) -> None:
    """Refuse options that would have no effect."""
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            option = "--set" if name == "overrides" else f"--{name}"
            raise ParameterError(f"{option} is about the bundle of a recipe: {remedy.format(option=option)}")


def _shipped(ctx: typer.Context, graph: str) -> Bundle:
    """Return the bundle that ships, and say which it is."""
    from cnnboost.deploy.bundle import describe, shipped_bundle

    _refuse(
        ctx, _OF_A_RECIPE, "name the recipe with --recipe, or leave {option} out for the bundle that ships"
    )
    bundle = shipped_bundle()
    log.info("%s", describe(bundle, graph))
    return bundle


def _of_recipe(recipe: str, overrides: list[str] | None, quiet: bool, **places: Any) -> Bundle:
    """Return the recipe's bundle; it is exported first if it is missing or of another recipe."""
    from cnnboost.config import BUNDLE_TABLES, load_recipe
    from cnnboost.deploy.bundle import is_bundle, read_bundle

    read = load_recipe(recipe, overrides or ())
    folder = places["models"] / read.name
    if read.hybrid.holdout or read.hybrid.folds:  # as Job.bundle_dir, which takes seconds to import
        folder /= "bundle"
    if is_bundle(folder):
        bundle = read_bundle(folder)
        same = bundle.manifest.get("recipe_digest") == read.digest(*BUNDLE_TABLES)
        if same and bundle.manifest.get("wants") == read.export.wants:
            return bundle
        log.info("%s was exported before the recipe changed; exporting it again", folder)
    else:
        log.info("%s holds no bundle yet; exporting it first", folder)
    job = job_of(JobOptions(recipe=recipe, overrides=overrides, quiet=quiet, **places))
    from cnnboost import stages

    return stages.export(job).bundle
