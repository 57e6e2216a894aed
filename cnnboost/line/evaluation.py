"""hybrid -> scores: the CNN and its boosted heads, side by side on the same rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.evaluation.collapse import find_collapse
from cnnboost.evaluation.plots import plot_confusion, plot_history, save_figure
from cnnboost.evaluation.scores import compare, score
from cnnboost.files import write_json
from cnnboost.line.boosting import Head, fit_boost
from cnnboost.line.extraction import extract
from cnnboost.line.job import Job
from cnnboost.line.provenance import machine, versions
from cnnboost.line.training import Trained, train

log = logging.getLogger("cnnboost")

FORMAT = 1

CNN_REMEDY = (
    "its learning curves, cnn.learning_rate, cnn.epochs and cnn.class_weight; `cnnboost train --overfit 50` "
    "says whether it can learn at all"
)
HEAD_REMEDY = (
    "boost.n_estimators, boost.max_depth and boost.class_weight, and at the CNN that its features are of"
)


@dataclass(frozen=True)
class Evaluated:
    """Scores and where they were written.

    Attributes
    ----------
    metrics : dict
        What `metrics.json` holds.
    path : Path
    figures : list of Path
    """

    metrics: dict[str, Any]
    path: Path
    figures: list[Path]


def evaluate(
    job: Job,
    layers: Sequence[str] | None = None,
    *,
    split: str | None = None,
    device: str | None = None,
) -> Evaluated:
    """Score the CNN and the heads at some layers on one split; bring what that needs up to date.

    Parameters
    ----------
    job : Job
    layers : sequence of str, optional
        Default: those of the recipe.
    split : str, optional
        Default: the recipe's, else test where there is one, else validation.
    device : str, optional
        For heads that are not fitted yet.

    Returns
    -------
    Evaluated

    Raises
    ------
    CnnboostError
        If anything on the way is at fault.
    """
    metrics, trained = scores_of(job, layers, split=split, device=device)
    path = write_json(job.reports_dir / "metrics.json", metrics)
    return Evaluated(metrics, path, _draw(job, trained, metrics))


def scores_of(
    job: Job,
    layers: Sequence[str] | None = None,
    *,
    split: str | None = None,
    device: str | None = None,
) -> tuple[dict[str, Any], Trained]:
    """Do what `evaluate` does, but write no report.

    Parameters
    ----------
    job, layers, split, device
        As for `evaluate`.

    Returns
    -------
    metrics : dict
        What `metrics.json` would hold.
    trained : Trained
        The CNN.

    Raises
    ------
    CnnboostError
        If anything on the way is at fault.
    """
    needs = job.needs()
    scored = job.images[split or job.scored_split]
    names = list(dict.fromkeys(layers or job.recipe.cut.layers))
    trained = train(needs)
    softmax = trained.cnn.predict_proba(scored.X)
    splits = list(dict.fromkeys(["train", scored.name]))
    features = extract(needs, names, splits, trained=trained)
    heads = [fit_boost(needs, name, device=device, features=features["train"]) for name in names]
    facts = job.recipe.evaluate
    options: dict[str, Any] = {
        "confidence": facts.confidence,
        "n_resamples": facts.resamples,
        "seed": facts.seed,
    }
    of_cnn = score(scored.y, softmax, scored.classes, **options).to_dict()
    cnn_collapsed = _collapsed("CNN", of_cnn, scored.classes, CNN_REMEDY)
    rows = []
    for head in heads:
        proba = head.boost.predict_proba(features[scored.name].stored[head.layer].X)
        scores = score(scored.y, proba, scored.classes, **options).to_dict()
        rows.append(
            {
                **_described(head),
                "scores": scores,
                "collapsed": _collapsed(f"XGBoost at {head.layer}", scores, scored.classes, HEAD_REMEDY),
                "against_cnn": compare(
                    scored.y, softmax, proba, names=("CNN", f"XGBoost at {head.layer}"), **options
                ).to_dict(),
            }
        )
    metrics = {
        "format": FORMAT,
        "recipe": job.recipe.name,
        "title": job.recipe.title,
        "split": scored.name,
        "images": {name: len(job.images[name]) for name in job.images.split_names},
        "images_left_out": len(job.images.bad),
        "data_digest": job.images.digest,
        "classes": list(scored.classes),
        "cnn": {
            "parameters": int(trained.model.count_params()),
            "fit_seconds": trained.facts.get("fit_seconds"),
            "epochs": len(trained.history.get("loss", [])),
            "seed": job.recipe.cnn.seed,
            "train_accuracy": _train_accuracy(job, trained),
            "scores": of_cnn,
            "collapsed": cnn_collapsed,
        },
        "heads": rows,
        "published": facts.published.model_dump() if facts.published else None,
        "recipe_facts": job.recipe.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions(),
    }
    return metrics, trained


def _collapsed(
    title: str, scores: dict[str, Any], classes: Sequence[str], remedy: str
) -> dict[str, Any] | None:
    """Warn of predictions that are nearly all one class."""
    found = find_collapse(scores["confusion"], classes)
    if found is None:
        return None
    log.warning("%s %s: it has learnt the share of the classes and no more; look at %s", title, found, remedy)
    return found.to_dict()


def _described(head: Head) -> dict[str, Any]:
    return {
        "layer": head.layer,
        "mode": head.mode,
        "width": head.details["width"],
        "rounds": head.boost.n_estimators_,
        "device": head.boost.device_,
        "fit_seconds": head.details["fit_seconds"],
    }


def _train_accuracy(job: Job, trained: Trained) -> float:
    """Accuracy on the images that were trained on: how much of them the CNN knows by heart."""
    split = job.images.train
    right = 0
    for start in range(0, len(split), 4096):
        proba = trained.cnn.predict_proba(split.part(start, start + 4096))
        right += int(np.sum(np.argmax(proba, axis=1) == split.y[start : start + 4096]))
    return right / len(split)


def _draw(job: Job, trained: Trained, metrics: dict[str, Any]) -> list[Path]:
    """Draw the learning curves and the confusion matrices of the CNN and of each head."""
    folder = job.reports_dir / "figures"
    figures = []
    if trained.history:
        figures.append(save_figure(plot_history(trained.history), folder / "history.png"))
    named = [("cnn", "CNN softmax", metrics["cnn"]["scores"])]
    named += [(row["layer"], f"XGBoost at {row['layer']}", row["scores"]) for row in metrics["heads"]]
    for name, title, scores in named:
        figure = plot_confusion(
            np.asarray(scores["confusion"]),
            metrics["classes"],
            title=f"{title}, {metrics['split']} ({scores['accuracy']['value']:.1%})",
            normalise=True,
        )
        figures.append(save_figure(figure, folder / f"confusion-{name.replace('/', '.')}.png"))
    return figures
