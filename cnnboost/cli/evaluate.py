"""The commands that score: `evaluate`, and `run`, which walks the whole line."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from cnnboost.cli import console, tables
from cnnboost.cli.app import cluster, command, job_of
from cnnboost.cli.options import (
    DaskOption,
    DeviceOption,
    JobOptions,
    MemoryOption,
    ModelOptions,
    TtaOption,
)
from cnnboost.deploy.bundle import is_bundle, located
from cnnboost.errors import CnnboostError

log = logging.getLogger("cnnboost")


@command()
def evaluate(
    options: ModelOptions,
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
    memory: MemoryOption = None,
    dask: DaskOption = None,
) -> None:
    """Score the CNN and the boosted heads on the same images, with intervals and McNemar's test.

    Where --data gives other images than those the CNN was trained on, nothing is trained: the CNN and the
    heads that are there are scored on them as they are; their scores go to other/ in the reports. So is a
    bundle that 'cnnboost export' wrote: --model BUNDLE.
    """
    given = {
        "--layer": layer,
        "--mode": mode,
        "--tta": tta,
        "--device": device,
        "--memory": memory,
        "--dask": dask,
    }
    model = options.model and located(options.model)
    if model is not None and is_bundle(model):
        _evaluate_bundle(replace(options, model=model), split, given)
        return
    with cluster(dask) as client:
        job = job_of(options, client=client, memory=memory)
        from cnnboost import stages

        found = stages.evaluate_source(job, layer, modes=mode, tta=tta, split=split, device=device)
    console.emit(found.shown, options.as_json, tables.show_scores)


def _evaluate_bundle(options: ModelOptions, split: str | None, given: dict[str, Any]) -> None:
    from cnnboost.config.load import DEFAULT

    for option, value in {**given, "--pixels": options.pixels, "--classes": options.classes}.items():
        if value:
            raise typer.BadParameter(
                f"{options.model} is a bundle, which is scored as exported; leave it out", param_hint=option
            )
    # Of a recipe, [evaluate] alone counts.
    job = job_of(replace(options, recipe=options.recipe or DEFAULT, model=None))
    from cnnboost import stages

    assert options.model is not None
    found = stages.evaluate_bundle(job, options.model, split=split)
    console.emit(found.shown, options.as_json, tables.show_scores)


@dataclass(frozen=True)
class RunOptions(JobOptions):
    """Those of `run`, whose recipe needs no name of an option."""

    recipe: Annotated[str | None, typer.Argument(help="A recipe file or name.", show_default="digits")] = None


@command()
def run(
    options: RunOptions,
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
    memory: MemoryOption = None,
    dask: DaskOption = None,
) -> None:
    """Walk the whole line: train, extract, boost at every layer of the recipe, score, write the page."""
    with cluster(dask) as client:
        job = job_of(options, client=client, memory=memory)
        from cnnboost import stages

        job = stages.smoke(job) if smoke else job
        if repeats is None:
            found = stages.evaluate(job, device=device).shown
        else:
            found = stages.repeat(job, repeats, device=device).shown
    if repeats is None:
        found["written"] += _page(job)
    console.emit(found, options.as_json, tables.show_scores if repeats is None else tables.show_repeats)


def _page(job: Any) -> list[str]:
    """Write the report page; scores that were made are shown though it cannot be written."""
    from cnnboost.stages import reporting

    try:
        return [str(reporting.report(job).path)]
    except CnnboostError as error:
        log.warning("no report page was written: %s", error)
        return []
