"""scores, probabilities -> the figures of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.files import file_part
from cnnboost.metrics.curves import precision_recall, roc
from cnnboost.report.plots import plot_history, save_figure
from cnnboost.report.score_plots import (
    plot_class_accuracy,
    plot_confusion,
    plot_precision_recall,
    plot_roc,
    plot_threshold_sweep,
)
from cnnboost.report.scores import classifiers, head_key, head_name
from cnnboost.stages.job import Job
from cnnboost.stages.scorer import Scorer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOT_ALWAYS = ("roc", "precision-recall", "threshold-sweep")


def draw_scores(
    job: Job, metrics: Mapping[str, Any], scorer: Scorer, history: Mapping[str, Sequence[float]]
) -> list[Path]:
    """Draw what an evaluation found, and remove curves of an earlier one that do not apply any more.

    Learning curves; a confusion matrix of each classifier; and, of the CNN beside the hybrid at the recipe's
    `cut.layer` (the first one where that is not scored), accuracy class by class, the ROC curves of the
    rarest and the most frequent class, and with two classes precision against recall and the sweep of
    thresholds.
    """
    split, classes, labels, proba = metrics["split"], metrics["classes"], scorer.rows.y, scorer.proba
    named = classifiers(metrics)
    first = named[0][2]
    level: dict[str, Any] = {"confidence": first["scores"]["confidence"]}
    folder = job.reports_dir / "figures"
    drawn: list[Path] = []

    def draw(stem: str, figure: Figure) -> None:  # no two of them are in memory
        drawn.append(save_figure(figure, folder / f"{stem}.png"))

    if history:
        draw("history", plot_history(history))
    for key, name, row in named:
        scores = row["scores"]
        title = f"{name}, {split} ({scores['accuracy']['value']:.1%})"
        draw(
            f"confusion-{file_part(key or 'cnn')}", plot_confusion(scores["confusion"], classes, title=title)
        )
    heads = {head_key(row): row for row in metrics["heads"]}
    beside = {name: row for key, name, row in named if not key}
    by_title = {"CNN softmax": proba[""]} if "" in proba else {}
    if heads:
        layer = job.recipe.cut.layer if job.recipe.cut.layer in heads else next(iter(heads))
        title = head_name(heads[layer])
        beside[title], by_title[title] = heads[layer], proba[layer]
    per_class = {title: row["scores"]["per_class"] for title, row in beside.items()}
    title = f"Accuracy of each class, {split}"
    draw("class-accuracy", plot_class_accuracy(per_class, title=title, **level))

    def one_class(name: str, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = classes.index(name)
        return labels == place, p[:, place]

    support = {row["name"]: row["support"] for row in first["scores"]["per_class"]}
    of_two = first["thresholds"]
    if there := list(first["auc"]):
        # Of two classes, the curve of one is the mirror image of the other's.
        ends = [min(there, key=support.__getitem__), max(there, key=support.__getitem__)]
        shown = [of_two["positive"]] if of_two else list(dict.fromkeys(ends))
        what = "ROC" if of_two else "ROC of the rarest and the most frequent class"
        curves = {
            f"{name} ({support[name]:,} of {len(labels):,} images)": {
                title: roc(*one_class(name, p), **level) for title, p in by_title.items()
            }
            for name in shown
        }
        draw("roc", plot_roc(curves, title=f"{what}, {split}", **level))
    if of_two:
        positive = of_two["positive"]
        figure = plot_precision_recall(
            {title: precision_recall(*one_class(positive, p), **level) for title, p in by_title.items()},
            {title: row["thresholds"]["best"] for title, row in beside.items()},
            positive=positive,
            share=support[positive] / len(labels),
            title=f"Precision against recall of {positive}, {split}",
            **level,
        )
        draw("precision-recall", figure)
        sweeps = {title: row["thresholds"]["sweep"] for title, row in beside.items()}
        title = f"Scores over the threshold, {split}"
        draw("threshold-sweep", plot_threshold_sweep(sweeps, positive=positive, title=title))
    for stem in _NOT_ALWAYS:
        if folder / f"{stem}.png" not in drawn:
            (folder / f"{stem}.png").unlink(missing_ok=True)
    return drawn
