"""The commands up to the head: `inspect`, `train`, `distill`, `layers`, `extract`, `fit-boost`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cnnboost.cli import console, tables
from cnnboost.cli.app import app, cluster, command, job_of
from cnnboost.cli.options import (
    DaskOption,
    DeviceOption,
    ForceOption,
    JobOptions,
    LayersOption,
    MemoryOption,
    ModelOption,
    ModelOptions,
    ModeOption,
    PixelsOption,
    TtaOption,
)


@command()
def inspect(options: JobOptions) -> None:
    """Read the images and audit them: counts, duplicates, contradicting labels, constant images."""
    job = job_of(options, keras=False)
    from cnnboost import stages

    console.emit(stages.inspect(job).shown, options.as_json, tables.show_audit)


@command()
def train(
    options: JobOptions,
    overfit: Annotated[
        int | None,
        typer.Option(
            "--overfit",
            metavar="N",
            help="Sanity check instead: can the network learn N images by heart? Status 1 if not.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", help="With --overfit: steps at most.", show_default="2000"),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Train the CNN; a training that was killed continues at its last finished epoch."""
    if steps is not None and overfit is None:
        raise typer.BadParameter("it belongs to --overfit N", param_hint="--steps")
    job = job_of(options, force=force)
    from cnnboost import stages

    if overfit is not None:
        _overfit(job, overfit, steps, options.as_json)
        return
    trained = stages.train(job)
    history = {name: values[-1] for name, values in trained.metadata["history"].items()}
    document = {
        "recipe": job.recipe.name,
        "model": str(trained.path),
        "cached": trained.cached,
        "epochs": len(trained.metadata["history"]["loss"]),
        "fit_seconds": trained.metadata["fit_seconds"],
        "last_epoch": history,
        "classes": trained.metadata["classes"],
    }
    console.emit(document, options.as_json, tables.show_training)


def _overfit(job: Any, n: int, steps: int | None, as_json: bool) -> None:
    from cnnboost import stages

    found = stages.overfit(job, n, **({} if steps is None else {"steps": steps}))
    console.emit(found.shown, as_json, tables.show_overfit)
    if not found.document["learnt"]:
        raise typer.Exit(console.FAILED)


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
    console.emit(document, options.as_json, tables.show_teacher)


# Its former name.
app.command("teach", hidden=True)(distill)


@command()
def layers(options: JobOptions, model: ModelOption = None) -> None:
    """List the layers where the CNN can be cut: name, Keras name, width. Nothing is trained for it."""
    job = job_of(options, model=model)
    from cnnboost import stages

    console.emit({"layers": stages.layers_of(job)}, options.as_json, tables.show_layers)


@command()
def extract(
    options: ModelOptions,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "-l", help="Layer; repeatable.", show_default="the recipe's"),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="train, validation, test; repeatable.", show_default="all"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write plain .npy files to this folder.")
    ] = None,
    dask: DaskOption = None,
    force: ForceOption = False,
) -> None:
    """Extract features into the store, all layers in one pass; trains the CNN first if need be."""
    with cluster(dask) as client:
        job = job_of(options, force=force, client=client)
        from cnnboost import stages
        from cnnboost.stages.extraction import export_plain

        extracted = stages.extract(job, layer, split)
    rows = [
        {
            "split": name,
            "layer": place,
            "rows": stored.spec.rows,
            "width": stored.spec.width,
            "path": str(stored.path),
            "cached": stored.cached,
            "resumed_from": stored.resumed_from,
        }
        for name, part in extracted.items()
        for place, stored in part.stored.items()
    ]
    plain = [str(path) for path in export_plain(extracted, out)] if out else []
    console.emit({"features": rows, "written": plain}, options.as_json, tables.show_features)


@command("fit-boost")
def fit_boost(
    options: ModelOptions,
    layer: LayersOption = None,
    mode: ModeOption = None,
    tta: TtaOption = None,
    device: DeviceOption = None,
    memory: MemoryOption = None,
    dask: DaskOption = None,
    force: ForceOption = False,
) -> None:
    """Fit the boosted head; trains and extracts first if need be.

    In residual and blend, rounds and temperature are chosen on images that the CNN was not trained on: the
    validation split, or what [hybrid] holdout or folds keep back (--set hybrid.holdout=0.1). With folds and
    layers each fold has a CNN and a head of its own, and their mean is the hybrid.
    """
    with cluster(dask) as client:
        job = job_of(options, force=force, client=client, memory=memory)
        from cnnboost import stages

        head = stages.fit_hybrid(job, layer, mode=mode, tta=tta, device=device).head
    document = {
        "recipe": job.recipe.name,
        "layer": head.layer,
        "mode": head.mode,
        "path": str(head.path),
        "cached": all(one.cached for one in head.all),
        "device": head.boost.device_,
        "rounds": head.rounds,
        **{name: head.details[name] for name in ("rows", "width")},
        "fit_seconds": head.fit_seconds,
        **{name: head.details.get(name) for name in ("temperature", "weight", "chosen_on")},
        "classes": [str(name) for name in head.boost.classes_],
    }
    if head.others:  # of a bagged hybrid
        document["heads"] = [
            {
                "path": str(one.path),
                "cached": one.cached,
                "rounds": one.rounds,
                **{name: one.details[name] for name in ("rows", "temperature", "weight", "fit_seconds")},
            }
            for one in head.all
        ]
    console.emit(document, options.as_json, tables.show_head)
