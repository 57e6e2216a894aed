"""The commands of the line. Each parses, calls one function of the line, and prints one result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cnnboost.cli import console, tables
from cnnboost.cli.app import app, make_job
from cnnboost.cli.options import (
    ClassesOption,
    DataOption,
    DeviceOption,
    ForceOption,
    JsonOption,
    ModelOption,
    ModelsOption,
    ModeOption,
    OnBad,
    OnBadOption,
    PixelsOption,
    QuietOption,
    RecipeOption,
    ReportsOption,
    SetOption,
    TtaOption,
)

_MODELS, _REPORTS = Path("models"), Path("reports")


@app.command()
@console.guarded
def inspect(
    recipe: RecipeOption = None,
    data: DataOption = None,
    models: ModelsOption = _MODELS,
    reports: ReportsOption = _REPORTS,
    overrides: SetOption = None,
    on_bad: OnBadOption = OnBad.stop,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read the images and audit them: counts, duplicates, contradicting labels, constant images."""
    job = make_job(recipe, overrides, quiet, on_bad, keras=False, data=data, models=models, reports=reports)
    from cnnboost import stages

    found = stages.inspect(job)
    document = {**found.audit, "written": [str(p) for p in (found.path, *found.figures)]}
    console.emit(document, as_json, lambda out: tables.show_audit(out, document))


@app.command()
@console.guarded
def train(
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
    recipe: RecipeOption = None,
    data: DataOption = None,
    models: ModelsOption = _MODELS,
    reports: ReportsOption = _REPORTS,
    overrides: SetOption = None,
    on_bad: OnBadOption = OnBad.stop,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the CNN; a training that was killed continues at its last finished epoch."""
    if steps is not None and overfit is None:
        raise typer.BadParameter("it belongs to --overfit N", param_hint="--steps")
    job = make_job(recipe, overrides, quiet, on_bad, data=data, models=models, reports=reports, force=force)
    from cnnboost import stages

    if overfit is not None:
        _overfit(job, overfit, steps, as_json)
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
    console.emit(document, as_json, lambda out: tables.show_training(out, document))


def _overfit(job: Any, n: int, steps: int | None, as_json: bool) -> None:
    from cnnboost import stages

    found = stages.overfit(job, n, **({} if steps is None else {"steps": steps}))
    document = {**found.metadata, "written": [str(found.path)]}
    console.emit(document, as_json, lambda out: tables.show_overfit(out, document))
    if not found.learnt:
        raise typer.Exit(console.FAILED)


@app.command()
@console.guarded
def layers(
    model: ModelOption = None,
    recipe: RecipeOption = None,
    data: DataOption = None,
    models: ModelsOption = _MODELS,
    reports: ReportsOption = _REPORTS,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the layers where the CNN can be cut: name, Keras name, width. Nothing is trained for it."""
    job = make_job(recipe, overrides, quiet, data=data, models=models, reports=reports, model=model)
    from cnnboost import stages

    found = stages.layers_of(job)
    console.emit({"layers": found}, as_json, lambda out: tables.show_layers(out, found))


@app.command()
@console.guarded
def extract(
    model: ModelOption = None,
    pixels: PixelsOption = None,
    classes: ClassesOption = None,
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
    recipe: RecipeOption = None,
    data: DataOption = None,
    models: ModelsOption = _MODELS,
    reports: ReportsOption = _REPORTS,
    overrides: SetOption = None,
    on_bad: OnBadOption = OnBad.stop,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Extract features into the store, all layers in one pass; trains the CNN first if need be."""
    job = make_job(
        recipe, overrides, quiet, on_bad, pixels, classes,
        data=data, models=models, reports=reports, force=force, model=model,
    )  # fmt: skip
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
    console.emit(
        {"features": rows, "written": plain}, as_json, lambda o: tables.show_features(o, rows, plain)
    )


@app.command("fit-boost")
@console.guarded
def fit_boost(
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer", "-l", help="Layer; repeatable in residual and blend.", show_default="the recipe's"
        ),
    ] = None,
    mode: ModeOption = None,
    tta: TtaOption = None,
    device: DeviceOption = None,
    model: ModelOption = None,
    pixels: PixelsOption = None,
    classes: ClassesOption = None,
    recipe: RecipeOption = None,
    data: DataOption = None,
    models: ModelsOption = _MODELS,
    reports: ReportsOption = _REPORTS,
    overrides: SetOption = None,
    on_bad: OnBadOption = OnBad.stop,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit the boosted head; trains and extracts first if need be.

    In residual and blend, rounds and temperature are chosen on images that the CNN was not trained on: the
    validation split, or what [hybrid] holdout or folds keep back (--set hybrid.holdout=0.1).
    """
    job = make_job(
        recipe, overrides, quiet, on_bad, pixels, classes,
        data=data, models=models, reports=reports, force=force, model=model,
    )  # fmt: skip
    from cnnboost import stages

    head = stages.fit_hybrid(job, layer, mode=mode, tta=tta, device=device).head
    document = {
        "recipe": job.recipe.name,
        "layer": head.layer,
        "mode": head.mode,
        "path": str(head.path),
        "cached": head.cached,
        "device": head.boost.device_,
        "rounds": head.boost.n_estimators_,
        "rows": head.details["rows"],
        "width": head.details["width"],
        "fit_seconds": head.details["fit_seconds"],
        "temperature": head.details.get("temperature"),
        "weight": head.details.get("weight"),
        "chosen_on": head.details.get("chosen_on"),
        "classes": [str(name) for name in head.boost.classes_],
    }
    console.emit(document, as_json, lambda out: tables.show_head(out, document))
