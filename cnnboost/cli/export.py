"""`cnnboost export`: the bundle and its ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    force: ForceOption = False,
) -> None:
    """Export the hybrid: a verified bundle and one ONNX graph from uint8 image to probabilities."""
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
    console.emit(document, options.as_json, lambda stream: show_bundle(stream, document))


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
                f"{kind}.onnx", f"{scores[kind]['accuracy']:.2%}", str(row["batch"]),
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
