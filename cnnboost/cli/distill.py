"""`cnnboost distill`: what a trained CNN predicts for the training images, for a student to follow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console, tables
from cnnboost.cli.app import app, command, job_of
from cnnboost.cli.options import ForceOption, JobOptions, PixelsOption
from cnnboost.escape import counted


@command()
def distill(
    options: JobOptions,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            help="A trained Keras file; repeatable, the student follows their mean.",
            show_default="the recipe's CNN",
        ),
    ] = None,
    pixels: PixelsOption = None,
    tta: Annotated[
        str, typer.Option("--tta", help="Views to average over: none, flip, shifts, ten-crop.")
    ] = "none",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="File to write, .npz.", show_default="teacher.npz of the recipe in --models"
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write a teacher's log-probabilities of the training images; `cnn.teacher` of a recipe follows them."""
    job = job_of(options, pixels=pixels, force=force)
    from cnnboost.stages.distillation import distill as make_soft_targets

    soft_targets = make_soft_targets(job, model or (), tta=tta, out=out)
    document = {
        "recipe": job.recipe.name,
        "teacher": str(soft_targets.path),
        "cached": soft_targets.cached,
        "networks": [str(path) for path in soft_targets.networks],
        "tta": soft_targets.tta,
        "images": soft_targets.images,
        "classes": list(soft_targets.classes),
    }
    console.emit(document, options.as_json, show_teacher)


# Its former name.
app.command("teach", hidden=True)(distill)


def show_teacher(out: Console, document: dict[str, Any]) -> None:
    """Print what was written and how a student is given it."""
    state = ", up to date" if document["cached"] else ""
    out.print(
        f"{document['recipe']}: log-probabilities of {counted(document['images'], 'training image')} in "
        f"{len(document['classes'])} classes by {counted(len(document['networks']), 'network')}, views: "
        f"{document['tta']}{state}",
    )
    tables.written(out, [] if document["cached"] else [document["teacher"]])
    out.print(f"a student follows it with --set cnn.teacher={document['teacher']}", style="dim")
