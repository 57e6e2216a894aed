"""CNN against hybrid in every mode: the same images, the same views, several seeds."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnboost.errors import ParameterError
from cnnboost.files import file_digest, write_json
from cnnboost.hybrid.crossfit import CrossFitted
from cnnboost.images import Split
from cnnboost.metrics.comparison import compare
from cnnboost.metrics.scores import score
from cnnboost.report.plots import plot_modes, save_figure
from cnnboost.stages.hybrids import extractor_of, hybrid_boost, hybrid_layers
from cnnboost.stages.job import Job, run_of
from cnnboost.stages.names import check_names
from cnnboost.stages.predictions import cross_fit
from cnnboost.stages.provenance import machine, versions
from cnnboost.stages.training import train

log = logging.getLogger("cnnboost")

FORMAT = 1


@dataclass(frozen=True)
class Compared:
    """What a comparison found, and where it was written."""

    document: dict[str, Any]
    path: Path
    figures: list[Path]


def compare_modes(job: Job, *, split: str | None = None) -> Compared:
    """Compare the CNN's softmax with the hybrid in the modes of the recipe, over several seeds.

    The trees are grown as `[compare]` and `[hybrid]` say; temperature, rounds and weight are chosen by
    cross-fitting: for each fold of the scored images, on the other folds. No image decides anything about
    its own score.
    """
    if job.model is not None:
        raise ParameterError(f"{job.model} is of no recipe: compare trains and compares the recipe's own CNN")
    metadata = job.recipe.compare
    check_names(job, hybrid_layers(job), tta=job.recipe.hybrid.tta)
    scored = job.images[split or job.scored_split]
    trained = [
        train(run_of(job.needs(), number) if number else job.needs()) for number in range(metadata.networks)
    ]
    runs = []
    with job.progress("compare", "seed") as report:
        report(0, metadata.seeds)
        for number in range(metadata.seeds):
            network = number % metadata.networks
            runs.append(_run(job, scored, trained[network].cnn, metadata.seed + number, network))
            report(number + 1, metadata.seeds)
    document = {
        "format": FORMAT,
        "recipe": job.recipe.name,
        "title": job.recipe.title,
        "split": scored.name,
        "n": len(scored),
        "layers": list(hybrid_layers(job)),
        "hybrid": job.recipe.hybrid.model_dump(mode="json"),
        "compare": metadata.model_dump(mode="json"),
        "confidence": job.recipe.evaluate.confidence,
        "chosen_on": f"the other {metadata.folds - 1} of {metadata.folds} folds of {scored.name}",
        "grown_on": "train" if job.recipe.hybrid.fit_on == "train" else f"the other folds of {scored.name}",
        "runs": runs,
        "summary": summarise(runs, metadata.modes, job.recipe.evaluate.confidence),
        "networks": [file_digest(one.path) for one in trained],
        "data_digest": job.images.digest,
        "recipe_facts": job.recipe.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions(),
    }
    path = write_json(job.reports_dir / "compare.json", document)
    figure = plot_modes(document)
    return Compared(document, path, [save_figure(figure, job.reports_dir / "figures" / "compare.png")])


def summarise(runs: Sequence[dict[str, Any]], modes: Sequence[str], confidence: float) -> dict[str, Any]:
    """Put the runs of each mode together, with a verdict in words."""
    found = {}
    for mode in modes:
        rows = [run["modes"][mode] for run in runs]
        differences = [row["against_softmax"]["difference"] for row in rows]
        p_values = [row["against_softmax"]["p_value"] for row in rows]
        losses = [row["log_loss_difference"] for row in rows]
        median = statistics.median(p_values)
        one_way = all(d > 0 for d in differences) or all(d < 0 for d in differences)
        mean = statistics.fmean(differences)
        difference_text = (
            f"{abs(mean) * 100:.2f} percentage points (mean of {len(rows)}; median p = {median:.2g})"
        )
        if one_way and median < 1 - confidence:
            verdict = f"{mode} is {'better' if mean > 0 else 'worse'} than the softmax by {difference_text}"
        else:
            verdict = (
                f"no difference: {mode} and the softmax are {difference_text} apart, which may be chance"
            )
        found[mode] = {
            "accuracy": statistics.fmean(row["scores"]["accuracy"]["value"] for row in rows),
            "difference": mean,
            "lowest_difference": min(differences),
            "highest_difference": max(differences),
            "log_loss": statistics.fmean(row["scores"]["log_loss"]["value"] for row in rows),
            "log_loss_difference": statistics.fmean(losses),
            "highest_log_loss_difference": max(losses),
            "p_values": p_values,
            "median_p_value": median,
            "verdict": verdict,
        }
    return found


def _run(job: Job, scored: Split, cnn: Any, seed: int, network: int) -> dict[str, Any]:
    """Compare with one seed: the folds', the trees', the views'."""
    recipe = job.recipe
    metadata = recipe.compare
    extractor = extractor_of(job, [cnn], hybrid_layers(job))
    fit, grown_on = cross_fit(
        job, extractor, scored, job.images.train, tta=recipe.hybrid.tta, folds=metadata.folds, seed=seed
    )
    options: dict[str, Any] = {
        "confidence": recipe.evaluate.confidence,
        "n_resamples": recipe.evaluate.resamples,
        "seed": recipe.evaluate.seed,
    }

    def row_of(found: CrossFitted) -> dict[str, Any]:
        return {
            "scores": score(scored.y, found.proba, scored.classes, **options).to_dict(),
            "rounds": found.rounds,
            "temperatures": found.temperatures,
            "weights": found.weights,
        }

    softmax, calibrated = fit.softmax()
    calibrated_row = row_of(calibrated)
    modes = {}
    for mode in metadata.modes:
        found = fit.head(mode, hybrid_boost(job, mode, seed), grown_on)
        row = row_of(found)
        row["against_softmax"] = compare(
            scored.y, softmax.proba, found.proba, names=("the softmax", mode), **options
        ).to_dict()
        row["log_loss_difference"] = (
            row["scores"]["log_loss"]["value"] - calibrated_row["scores"]["log_loss"]["value"]
        )
        modes[mode] = row
        log.info(
            "seed %d, %s: accuracy %.2f%% (%+.2f points), log-loss %.4f (%+.4f), rounds %s",
            seed, mode, 100 * row["scores"]["accuracy"]["value"], 100 * row["against_softmax"]["difference"],
            row["scores"]["log_loss"]["value"], row["log_loss_difference"], found.rounds,
        )  # fmt: skip
    return {
        "seed": seed,
        "network": network,
        "softmax": row_of(softmax),
        "calibrated": calibrated_row,
        "modes": modes,
    }
