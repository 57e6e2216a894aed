"""The commands that score: `evaluate`, and `run`, which walks the whole line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cnnboost.cli import console, tables
from cnnboost.cli.app import app, make_job
from cnnboost.cli.options import (
    ClassesOption,
    DataOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    ModelsOption,
    OnBad,
    OnBadOption,
    PixelsOption,
    QuietOption,
    RecipeOption,
    ReportsOption,
    SetOption,
    TtaOption,
)
from cnnboost.deploy.bundle import is_bundle
from cnnboost.errors import CnnboostError

log = logging.getLogger("cnnboost")

_MODELS, _REPORTS = Path("models"), Path("reports")


@app.command()
@console.guarded
def evaluate(
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "-l",
            help="Layer; repeatable. With --mode the hybrid's too.",
            show_default="the recipe's",
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            "--mode",
            help="Also score a hybrid in this mode: residual, blend; repeatable.",
            show_default="the recipe's",
        ),
    ] = None,
    tta: TtaOption = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="train, validation or test.",
            show_default="test where there is one, else validation; of other images, all",
        ),
    ] = None,
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
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score the CNN and the boosted heads on the same images, with intervals and McNemar's test.

    Where --data gives other images than those the CNN was trained on, nothing is trained: the CNN and the
    heads that are there are scored on them as they are; their scores go to other/ in the reports. So is a
    bundle that 'cnnboost export' wrote: --model BUNDLE.
    """
    bundle = model if model is not None and is_bundle(model) else None
    if bundle:
        from cnnboost.config.load import DEFAULT

        given = {
            "--layer": layer, "--mode": mode, "--tta": tta, "--device": device, "--pixels": pixels,
            "--classes": classes,
        }  # fmt: skip
        for option, value in given.items():
            if value:
                raise typer.BadParameter(
                    f"{model} is a bundle, which is scored as exported; leave it out",
                    param_hint=option,
                )
        # Of a recipe, [evaluate] alone counts.
        job = make_job(recipe or DEFAULT, overrides, quiet, on_bad, data=data, models=models, reports=reports)
        from cnnboost import stages

        _show_scores(stages.evaluate_bundle(job, bundle, split=split), as_json)
        return
    job = make_job(
        recipe,
        overrides,
        quiet,
        on_bad,
        pixels,
        classes,
        data=data,
        models=models,
        reports=reports,
        model=model,
    )
    from cnnboost import stages

    _show_scores(stages.evaluate_source(job, layer, modes=mode, tta=tta, split=split, device=device), as_json)


@app.command()
@console.guarded
def run(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe file or name.", show_default="digits")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few images, one epoch: does it work at all?")
    ] = False,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats", metavar="K", help="K times, with seeds one apart: how far do the scores vary?"
        ),
    ] = None,
    device: DeviceOption = None,
    data: DataOption = None,
    models: ModelsOption = _MODELS,
    reports: ReportsOption = _REPORTS,
    overrides: SetOption = None,
    on_bad: OnBadOption = OnBad.stop,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Walk the whole line: train, extract, boost at every layer of the recipe, score, write the page."""
    job = make_job(recipe, overrides, quiet, on_bad, data=data, models=models, reports=reports)
    from cnnboost import stages

    job = stages.smoke(job) if smoke else job
    if repeats is None:
        _show_scores(stages.evaluate(job, device=device), as_json, _page(job))
        return
    repeated = stages.repeat(job, repeats, device=device)
    document = {**repeated.summary, "written": [str(repeated.path)]}
    console.emit(document, as_json, lambda out: tables.show_repeats(out, document))


def _page(job: Any) -> list[str]:
    """Write the report page; scores that were made are shown though it cannot be written."""
    from cnnboost.stages import reporting

    try:
        return [str(reporting.report(job).path)]
    except CnnboostError as error:
        log.warning("no report page was written: %s", error)
        return []


def _show_scores(evaluated: Any, as_json: bool, page: Sequence[str] = ()) -> None:
    written = [*map(str, (evaluated.path, *evaluated.figures)), *page]
    document = {**evaluated.metrics, "written": written}
    console.emit(document, as_json, lambda out: tables.show_scores(out, document))
