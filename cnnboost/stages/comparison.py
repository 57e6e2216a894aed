"""CNN against hybrid in every mode and against other heads: the same images and views, several seeds."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnboost.errors import ParameterError
from cnnboost.files import digest_of, file_digest, write_json
from cnnboost.hybrid.crossfit import BagFit, CrossFit, CrossFitted
from cnnboost.hybrid.modes import HeadInputs
from cnnboost.hybrid.rivals import Rival, rivals_of
from cnnboost.images import Split
from cnnboost.images.views import views
from cnnboost.metrics.scores import score
from cnnboost.report.compared import MODES_FIGURE, ROWS_FIGURE, plot_modes, plot_rows
from cnnboost.report.plots import save_figure
from cnnboost.stages.hybrids import hybrid_boost, hybrid_layers
from cnnboost.stages.job import Job, run_of
from cnnboost.stages.names import check_names
from cnnboost.stages.networks import VALIDATION, Networks, networks_of
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.predictions import cross_fit
from cnnboost.stages.provenance import made_with
from cnnboost.stages.row_curve import SOFTMAX, RowCurve, compared, verdicts
from cnnboost.stages.training import chosen_on_validation, train

log = logging.getLogger("cnnboost")

FORMAT = 2
"""Since 2 with other heads than trees, and with differences to the best linear one."""


def compare_modes(job: Job, *, split: str | None = None) -> Outcome:
    """Compare the CNN's softmax with the hybrid in the modes of the recipe and with other heads.

    The heads are fitted as `[compare]` and `[hybrid]` say; temperature, rounds and weight are chosen by
    cross-fitting: for each fold of the scored images, on the other folds. No image decides anything about
    its own score. Of a bagged hybrid, the softmaxes and the heads of its networks are averaged each. With
    `[compare] rows`, heads are fitted on so many images each too.
    """
    if job.model is not None:
        raise ParameterError(f"{job.model} is of no recipe: compare trains and compares the recipe's own CNN")
    metadata = job.recipe.compare
    rivals = rivals_of(metadata.heads)
    check_names(job, hybrid_layers(job), tta=job.recipe.hybrid.tta)
    scored = job.images[split or job.scored_split]
    _check_unseen(job, scored.name)
    networks = _networks(job.needs())
    curve = RowCurve(job, scored, [rival for rival in rivals if rival.linear])
    runs: list[dict[str, Any]] = []
    proba: list[dict[str, np.ndarray]] = []
    with job.progress("compare", "seed") as report:
        report(0, metadata.seeds)
        for number in range(metadata.seeds):
            network = number % metadata.networks
            seed = metadata.seed + number
            fit, grown_on = cross_fit(
                job, networks[network], hybrid_layers(job), scored,
                tta=job.recipe.hybrid.tta, folds=metadata.folds, seed=seed,
            )  # fmt: skip
            curve.check(fit)
            run, of_heads = _run(job, scored, fit, grown_on, rivals, seed, network)
            curve.draw(fit, seed, of_heads, run)
            runs.append(run)
            proba.append(of_heads)
            report(number + 1, metadata.seeds)
    linear = _best_linear(runs, [rival.name for rival in rivals if rival.linear])
    if linear is not None:
        for run, of_heads in zip(runs, proba, strict=True):
            for name, row in heads_of(run).items():
                if name != linear:
                    row["against_linear"] = compared(
                        job, scored, linear, of_heads[linear], name, of_heads[name]
                    )
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
        **_images_of(job, scored.name),
        "runs": runs,
        "best_linear": linear,
        "summary": summarise(runs, job.recipe.evaluate.confidence, linear),
        "networks": [_digest(one) for one in networks],
        "members": len(networks[0].trained),
        "train_accuracy": [_accuracy_on(job.images.train, one, job.recipe.hybrid.tta) for one in networks],
        "data_digest": job.images.digest,
        **made_with(job.recipe),
    }
    if curve.sizes:
        document["curve"] = curve.document(linear)
    path = write_json(job.reports_dir / "compare.json", document)
    folder = job.reports_dir / "figures"
    figures = [save_figure(plot_modes(document), folder / MODES_FIGURE)]
    if curve.sizes:
        figures.append(save_figure(plot_rows(document), folder / ROWS_FIGURE))
    return Outcome(document, path, figures)


def _networks(job: Job) -> list[Networks]:
    """Bring the CNNs up to date that are compared: those of a bagged hybrid are one."""
    if job.recipe.hybrid.bagged:
        return [networks_of(job)]
    jobs = [run_of(job, number) if number else job for number in range(job.recipe.compare.networks)]
    return [Networks([train(one)], job.images.train) for one in jobs]


def _digest(networks: Networks) -> str:
    digests = [file_digest(one.path) for one in networks.trained]
    return digest_of(digests) if networks.members else digests[0]


def _images_of(job: Job, scored: str) -> dict[str, str]:
    """Say on which images heads are fitted, and on which the rest of them is chosen."""
    folds, table = job.recipe.compare.folds, job.recipe.hybrid
    others = f"the other {folds - 1} of {folds} folds of {scored}"
    if not table.bagged:
        on_train = table.fit_on == "train"
        grown_on = "train" if on_train else f"the other folds of {scored}"
        return {"chosen_on": others, "grown_on": grown_on}
    own = "the fold of train that its network has not seen"
    if table.fit_on == "both":
        own += f" and {others}" if scored == VALIDATION else f" and {VALIDATION}"
    return {"chosen_on": "folds of the same images", "grown_on": own}


def heads_of(run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of a run: trees in every mode, then other heads, of which older documents have none."""
    return {**run["modes"], **run.get("heads", {})}


def summarise(
    runs: Sequence[dict[str, Any]], confidence: float, linear: str | None = None
) -> dict[str, dict[str, Any]]:
    """Put the runs of each head together, with verdicts in words."""
    found = {}
    for name in heads_of(runs[0]):
        rows = [heads_of(run)[name] for run in runs]
        losses = [row["log_loss_difference"] for row in rows]
        found[name] = {
            "accuracy": statistics.fmean(row["scores"]["accuracy"]["value"] for row in rows),
            "log_loss": statistics.fmean(row["scores"]["log_loss"]["value"] for row in rows),
            "log_loss_difference": statistics.fmean(losses),
            "highest_log_loss_difference": max(losses),
            **verdicts(name, rows, confidence, linear),
        }
    return found


def _check_unseen(job: Job, split: str) -> None:
    """Refuse to score images that the CNN was trained on, or that chose its epoch or learning rate."""
    remedy = f"compare on other images, e.g. --split {job.scored_split}"
    if split == "train":
        raise ParameterError(f"--split train: the CNN was trained on these images; {remedy}")
    if split == "validation" and chosen_on_validation(job):
        raise ParameterError(
            f"--split validation: these images chose when the training of the CNN ended; {remedy}"
        )


def _best_linear(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> str | None:
    """Return the linear head of the lowest log-loss."""

    def log_loss(name: str) -> float:
        return statistics.fmean(run["heads"][name]["scores"]["log_loss"]["value"] for run in runs)

    return min(names, key=log_loss, default=None)


def _accuracy_on(split: Split, networks: Networks, tta: str) -> float:
    """Return the accuracy of the softmax over the views at test time; that on Training tells the gap."""
    cnns = [trained.cnn for trained in networks.trained]
    proba = np.mean(
        [cnn.predict_proba(view) for cnn in cnns for view in views(np.asarray(split.X), tta)], axis=0
    )
    return float((proba.argmax(axis=1) == split.y).mean())


def _run(
    job: Job,
    scored: Split,
    fit: CrossFit | BagFit,
    grown_on: HeadInputs | None,
    rivals: Sequence[Rival],
    seed: int,
    network: int,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Compare with one seed of folds, trees and views; return the probabilities of softmax and heads too."""
    softmax, calibrated = fit.softmax()
    proba = {SOFTMAX: softmax.proba}

    def row_of(found: CrossFitted, **own: Any) -> dict[str, Any]:
        scores = score(scored.y, found.proba, scored.classes, **job.recipe.evaluate.intervals).to_dict()
        return {"scores": scores, "temperatures": found.temperatures, **own}

    def trees(found: CrossFitted) -> dict[str, Any]:
        return row_of(found, rounds=found.rounds, weights=found.weights)

    def against_softmax(name: str, found: CrossFitted, row: dict[str, Any]) -> dict[str, Any]:
        row["against_softmax"] = compared(job, scored, "the softmax", softmax.proba, name, found.proba)
        log_loss = row["scores"]["log_loss"]["value"]
        row["log_loss_difference"] = log_loss - calibrated_row["scores"]["log_loss"]["value"]
        proba[name] = found.proba
        log.info(
            "seed %d, %s: accuracy %.2f%% (%+.2f points), log-loss %.4f (%+.4f)",
            seed, name, 100 * row["scores"]["accuracy"]["value"], 100 * row["against_softmax"]["difference"],
            log_loss, row["log_loss_difference"],
        )  # fmt: skip
        return row

    calibrated_row = trees(calibrated)
    modes, heads = {}, {}
    for mode in job.recipe.compare.modes:
        found = fit.head(mode, hybrid_boost(job, mode, seed), grown_on)
        modes[mode] = against_softmax(mode, found, trees(found))
    for rival in rivals:
        found = fit.rival(rival, grown_on)
        row = row_of(found, linear=rival.linear, chosen=found.chosen)
        heads[rival.name] = against_softmax(rival.name, found, row)
    run = {
        "seed": seed,
        "network": network,
        "softmax": trees(softmax),
        "calibrated": calibrated_row,
        "modes": modes,
        "heads": heads,
    }
    return run, proba
