"""`cnnboost export`: the bundle and its ONNX graphs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console, tables
from cnnboost.cli.app import command, job_of
from cnnboost.cli.options import (
    DeviceOption,
    ForceOption,
    LayersOption,
    ModelOptions,
    ModeOption,
    TtaOption,
)
from cnnboost.deploy.bundle import graph_name
from cnnboost.errors import ParameterError

if TYPE_CHECKING:
    from cnnboost.deploy.bundle import Bundle

log = logging.getLogger("cnnboost")


@command()
def export(
    options: ModelOptions,
    layer: LayersOption = None,
    mode: ModeOption = None,
    tta: TtaOption = None,
    int8: Annotated[
        bool | None,
        typer.Option(
            "--int8/--no-int8",
            help="Also write an int8 graph: faster, slightly less accurate.",
            show_default="as the recipe says",
        ),
    ] = None,
    device: DeviceOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the bundle alone.", show_default="the recipe's in --models"),
    ] = None,
    standalone: Annotated[
        Path | None,
        typer.Option(
            "--standalone",
            metavar="DIR",
            help="Also write a folder that predicts with three packages and without cnnboost. Without "
            "--recipe, --data and --model it is of the bundle that ships; --model may name a bundle here.",
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Export the hybrid: a verified bundle and one ONNX graph from uint8 image to probabilities."""
    if standalone is not None and (found := _ready_bundle(options)):
        _refuse_given({
            "--layer": layer, "--mode": mode, "--tta": tta, "--device": device, "--out": out,
            "--force": force or None, "--pixels": options.pixels, "--classes": options.classes,
            "--image-cache or --no-image-cache": options.image_cache,
        })  # fmt: skip
        document: dict[str, Any] = {
            "bundle": str(found.folder),
            "written": _standalone(found, standalone, int8),
        }
        console.emit(document, options.as_json, lambda out, made: tables.written(out, made["written"]))
        return
    job = job_of(options, force=force)
    from cnnboost import stages

    exported = stages.export(job, layer, mode=mode, tta=tta, int8=int8, device=device, out=out)
    bundle = exported.bundle
    written = [] if exported.cached else ["manifest.json", *bundle.members]
    document = {
        "bundle": str(bundle.folder),
        "cached": exported.cached,
        "manifest": bundle.manifest,
        "written": [str(bundle.folder / name) for name in written],
    }
    if standalone is not None:
        document["written"] += _standalone(bundle, standalone, int8)
    console.emit(document, options.as_json, show_bundle)


def _ready_bundle(options: ModelOptions) -> Bundle | None:
    """Return the bundle that is there already and that the options name; None where they describe a job."""
    from cnnboost.deploy.bundle import describe, is_bundle, located, read_bundle, shipped_bundle

    model = options.model and located(options.model)
    if model is not None and is_bundle(model):
        _refuse_given({
            "--recipe": options.recipe, "--data": options.data, "--set": options.overrides or None
        })  # fmt: skip
        bundle = read_bundle(model)
    elif options.model is None and options.recipe is None and options.data is None and not options.overrides:
        bundle = shipped_bundle()
    else:
        return None
    console.notes(options.quiet)
    log.info("%s", describe(bundle))
    return bundle


def _refuse_given(options: dict[str, Any]) -> None:
    """Refuse options that would have no effect."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ParameterError(
            f"{given[0]} is about making a bundle, and --standalone takes one that exists already, with its "
            "layer, pixels and classes; leave it out, or give --recipe and no bundle with --model"
        )


def _standalone(bundle: Bundle, folder: Path, int8: bool | None) -> list[str]:
    from cnnboost.deploy.standalone import write_standalone

    return [str(path) for path in write_standalone(bundle, folder, graph="int8" if int8 else "hybrid")]


def show_bundle(out: Console, document: dict[str, Any]) -> None:
    """Print what was exported and how well the graphs agree."""
    manifest = document["manifest"]
    state = f", up to date in {document['bundle']}" if document["cached"] else ""
    out.print(
        f"{manifest['recipe']}: {manifest['layer']}, {manifest['mode']}, {manifest['rounds']} rounds, "
        f"{len(manifest['classes'])} classes{state}",
    )
    numbers = ("accuracy", "batch", "labels agree", "median difference", "largest")
    table = tables.new_table("graph", *numbers, numbers=numbers)
    scores = manifest["scores"]
    for kind, rows in manifest["parity"].items():
        for row in rows:
            table.add_row(
                graph_name(kind), f"{scores[kind]['accuracy']:.2%}", str(row["batch"]),
                f"{row['agreement']:.2%}", f"{row['median']:.1e}", f"{row['largest']:.1e}",
            )  # fmt: skip
    out.print(table)
    cross_fitted = " (cross-fitted, as these images tuned the trees)" if scores.get("cross_fitted") else ""
    out.print(
        f"accuracy on {scores['split']}, {scores['images']:,} images{cross_fitted}; graphs compared with "
        f"Keras and XGBoost on {manifest['parity']['hybrid'][0]['images']:,} images",
        style="dim",
    )
    tables.written(out, document["written"])
