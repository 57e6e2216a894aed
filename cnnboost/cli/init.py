"""`cnnboost init`: a recipe for images of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console
from cnnboost.cli.app import app
from cnnboost.cli.options import JsonOption, QuietOption
from cnnboost.escape import counted, visible


@app.command()
@console.guarded
def init(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Folder, .zip, csv or .npz of labelled images, URL of a folder, .txt list of paths or URLs, "
            "or 'digits'.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The recipe to write. [default: named after DATA]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a recipe that is there.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look at labelled images and write a recipe for them, with a comment on each value."""
    console.notes(quiet)
    from cnnboost.stages.recipe_file import write_recipe

    made = write_recipe(data, out, force=force)
    recipe, found = made.recipe, made.images
    document = {
        "recipe": recipe.name,
        "images": found.images,
        "classes": found.classes,
        "splits": list(found.splits),
        "median_size": list(found.size),
        "size": recipe.data.size,
        "channels": recipe.data.channels,
        "architecture": recipe.cnn.architecture,
        "epochs": recipe.cnn.epochs,
        "written": [str(made.path)],
    }
    console.emit(document, as_json, _show)


def _show(out: Console, document: dict[str, Any]) -> None:
    classes = [f"{visible(name)} {n:,}" for name, n in list(document["classes"].items())[:10]]
    more = ["..."] * (len(document["classes"]) > len(classes))
    height, width = document["size"]
    images = counted(document["images"], "image")
    out.print(f"{images} of {len(document['classes'])} classes: {', '.join(classes + more)}")
    kind = "in colour" if document["channels"] == 3 else "grey"
    network = f"{document['architecture']!r}, {counted(document['epochs'], 'epoch')}"
    out.print(f"taken as {height}x{width} {kind}; network {network}")
    (path,) = document["written"]
    out.print(f"wrote {path}; next: cnnboost run {shlex.quote(path)}")
