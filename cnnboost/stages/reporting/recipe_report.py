"""The page of one recipe, from the files that are there."""

from __future__ import annotations

import logging
from typing import Any

from cnnboost.config import Recipe
from cnnboost.errors import DataError, StoreError
from cnnboost.files import write_bytes
from cnnboost.report.mistakes import Mistake
from cnnboost.report.sections import Findings, report_page, warnings_of
from cnnboost.stages.job import Job
from cnnboost.stages.reporting.documents import (
    command,
    read_figures,
    read_metrics,
    read_notes,
    read_optional,
    read_others,
    read_searches,
    said,
)
from cnnboost.stages.reporting.pictures import NotTheSame, mistakes_of, why_no_pictures
from cnnboost.stages.reporting.reported import Reported

log = logging.getLogger("cnnboost")


def report(job: Job, *, pictures: bool = True) -> Reported:
    """Write `index.html` of a recipe from the files that are there."""
    folder = job.reports_dir
    evaluate = command("evaluate", job)
    metrics = read_metrics(folder, evaluate)
    if _changed(job.recipe, metrics):
        log.warning(
            "recipe %r was changed since it was scored, the page shows what was scored; %s scores it anew",
            job.recipe.name, evaluate,
        )  # fmt: skip
    why_not = why_no_pictures(job) if pictures else "they were not asked for"
    mistakes: list[Mistake] = []
    if why_not is None:
        try:
            mistakes = mistakes_of(job, metrics)
        except NotTheSame as reason:
            why_not = str(reason)
            log.warning("no pictures of mistakes: %s", reason)
    findings = Findings(
        metrics=metrics,
        audit=read_optional(folder / "audit.json", command("inspect", job)),
        latency=read_optional(folder / "latency.json", command("bench", job)),
        repeats=read_optional(folder / "repeats.json", f"cnnboost run {job.recipe.name} --repeats K"),
        overfit=read_optional(folder / "overfit.json", f"{command('train', job)} --overfit N"),
        compared=read_optional(folder / "compare.json", command("compare", job)),
        searches=read_searches(job),
        others=read_others(job, pictures),
        figures=read_figures(folder / "figures", pictures),
        notes=read_notes(folder),
        mistakes=mistakes,
        why_no_pictures=why_not or "there are no mistakes",
    )
    try:
        page, warnings = report_page(findings), warnings_of(findings)
    except (DataError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(
            f"{folder}: its .json files are not what this version writes ({said(error)}); run {evaluate} "
            "again, and what wrote the others (inspect, bench, compare, tune, train --overfit) where they "
            "are there"
        ) from error
    path = write_bytes(folder / "index.html", page.encode(errors="backslashreplace"))
    return Reported(
        path,
        [metrics["recipe"]],
        list(findings.figures),
        len(mistakes),
        None if mistakes else findings.why_no_pictures,
        warnings,
    )


def _changed(recipe: Recipe, metrics: dict[str, Any]) -> bool:
    """Compare what decides about scores; keys that are newer than the scores stand at their default there."""
    from pydantic import ValidationError

    try:
        scored = Recipe.model_validate(metrics.get("recipe_facts"))
    except ValidationError:
        return True
    tables = ("data", "cnn", "boost")
    return scored.digest(*tables) != recipe.digest(*tables)
