"""One recipe several times with seeds one apart: how far its scores vary by chance."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from typing import Any

from cnnboost.errors import ParameterError
from cnnboost.files import write_json
from cnnboost.report.scores import head_key
from cnnboost.stages.evaluation import scores_of
from cnnboost.stages.job import Job, run_of
from cnnboost.stages.outcome import Outcome

log = logging.getLogger("cnnboost")

FORMAT = 1
FEWEST = 2
"""Runs from which on there is a variance."""


def repeat(
    job: Job,
    repeats: int,
    layers: Sequence[str] | None = None,
    *,
    device: str | None = None,
) -> Outcome:
    """Walk the line several times and say how far the scores vary; what is there already is skipped.

    The seeds of `[cnn]` and `[boost]` grow from run to run by the number of networks in the hybrid (one,
    unless it is an ensemble, whose members have seeds of their own); images, splits and the seed of the
    bootstrap stay. Each run keeps its files in `repeats/<seed of [cnn]>/` of the recipe's models, so that a
    series that was killed continues where it stopped, and a longer one begins with the runs there are.
    """
    if repeats < FEWEST:
        raise ParameterError(f"repeats={repeats}: one run does not vary; give at least {FEWEST}")
    if job.model is not None:
        raise ParameterError(f"repeats={repeats}: {job.model} is trained already; leave the model out")
    found = []
    stride = job.recipe.hybrid.networks
    for number in range(repeats):
        run = run_of(job, number * stride)
        log.info("run %d of %d: seed %d (%s)", number + 1, repeats, run.recipe.cnn.seed, run.models_dir)
        metrics = scores_of(run, layers, device=device)[0]
        found.append(metrics)
        log.info(
            "run %d of %d: accuracy %s", number + 1, repeats,
            ", ".join(f"{title} {row['scores']['accuracy']['value']:.2%}" for title, row in _rows(metrics)),
        )  # fmt: skip
    summary = summarise(found, [job.recipe.cnn.seed + number * stride for number in range(repeats)])
    summary["recipe_facts"] = job.recipe.model_dump(mode="json")
    return Outcome(summary, write_json(job.reports_dir / "repeats.json", summary))


def summarise(metrics: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
    """Put the scores of several runs together."""
    first = metrics[0]
    kept = ("recipe", "title", "split", "images", "images_left_out", "data_digest", "classes", "published")
    heads = [
        {
            "layer": row["layer"],
            "mode": row["mode"],
            **_summary([run["heads"][place] for run in metrics]),
        }
        for place, row in enumerate(first["heads"])
    ]
    return {
        "format": FORMAT,
        **{name: first[name] for name in kept},
        "repeats": len(metrics),
        "cnn": _summary([run["cnn"] for run in metrics]),
        "heads": heads,
        "runs": [_one(run, seed) for run, seed in zip(metrics, seeds, strict=True)],
        "machine": first["machine"],
        "versions": first["versions"],
    }


def _rows(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("CNN", metrics["cnn"]), *((head_key(row), row) for row in metrics["heads"])]


def _one(metrics: dict[str, Any], seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "boost_seed": metrics["recipe_facts"]["boost"]["seed"],
        "cnn": _accuracy(metrics["cnn"]),
        "heads": [{"layer": row["layer"], "mode": row["mode"], **_accuracy(row)} for row in metrics["heads"]],
    }


def _accuracy(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "accuracy": row["scores"]["accuracy"]["value"],
        "collapsed": row["collapsed"],
        "fit_seconds": row["fit_seconds"],
    }


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarise CNN or one head over the runs."""
    classes = [row["scores"]["per_class"] for row in rows]
    return {
        "accuracy": spread([row["scores"]["accuracy"]["value"] for row in rows]),
        "per_class": [
            {
                "name": runs[0]["name"],
                "support": runs[0]["support"],
                **{
                    score: spread([run[score]["value"] for run in runs])
                    for score in ("precision", "recall", "f1")
                },
            }
            for runs in zip(*classes, strict=True)
        ],
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the five statistics of repeated runs."""
    return {
        "max": max(values),
        "min": min(values),
        "std": statistics.stdev(values),
        "variance": statistics.variance(values),
        "mean": statistics.fmean(values),
    }
