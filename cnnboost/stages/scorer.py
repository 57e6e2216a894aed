"""rows, probabilities -> what `metrics.json` says of each classifier on these rows."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from cnnboost.images import ImageSet, Split
from cnnboost.metrics.comparison import compare
from cnnboost.metrics.curves import area_under_roc, thresholds
from cnnboost.metrics.scores import FOREIGN_CAUSES, find_collapse, score
from cnnboost.report.scores import head_key, head_name
from cnnboost.stages.boosting import Head
from cnnboost.stages.job import Job
from cnnboost.stages.provenance import made_with
from cnnboost.stages.training import Trained

log = logging.getLogger("cnnboost")

FORMAT = 1
"""Of `metrics.json`."""

CNN_REMEDY = (
    "its learning curves, cnn.learning_rate, cnn.epochs and cnn.class_weight; `cnnboost train --overfit 50` "
    "says whether it can learn at all"
)
HEAD_REMEDY = (
    "boost.n_estimators, boost.max_depth and boost.class_weight, and at the CNN that its features are of"
)
_TELLING = 20
"""Images from which on it tells something if nearly all are called the same."""


class Scorer:
    """Scores the CNN and its heads on the same rows."""

    def __init__(self, job: Job, rows: Split, softmax: np.ndarray | None, no_softmax: str = "") -> None:
        metadata = job.recipe.evaluate
        self._job, self.rows, self._softmax = job, rows, softmax
        self._no_softmax = no_softmax
        self._cnn: dict[str, Any] | None = None
        self._heads: list[dict[str, Any]] = []
        self._positive = job.recipe.data.binary or rows.classes[-1]
        self._options = metadata.intervals
        self.proba = {} if softmax is None else {"": softmax}
        """Probabilities by key of the head; the CNN's under the empty name."""

    def cnn(self, trained: Trained, train_accuracy: float | None, **own: Any) -> None:
        """Describe and score the CNN, if it has a softmax."""
        if self._softmax is None:
            return
        self._cnn = {
            "parameters": int(trained.model.count_params()),
            "fit_seconds": trained.metadata.get("fit_seconds"),
            "epochs": len(trained.history.get("loss", [])),
            "seed": self._job.recipe.cnn.seed,
            "train_accuracy": train_accuracy,
            **self._scored("CNN", self._softmax, CNN_REMEDY if self._job.model is None else FOREIGN_CAUSES),
            **own,
        }

    def head(self, head: Head, proba: np.ndarray, cross_fitted: bool = False) -> None:
        """Describe and score a head, beside the CNN."""
        rows, title = self.rows, head_name({"layer": head.layer, "mode": head.mode})
        self.proba[head_key({"layer": head.layer, "mode": head.mode})] = proba
        against = None
        if self._softmax is not None:
            against = compare(rows.y, self._softmax, proba, names=("CNN", title), **self._options).to_dict()
            if len(rows) == 1:
                against["difference_interval"] = None
            if self._job.model is not None and self._job.feeding.doubt:
                verdict = "no verdict: the CNN's softmax looks wrongly fed or read"
                against |= {"p_value": None, "verdict": verdict}
        self._heads.append(
            {
                "layer": head.layer,
                "mode": head.mode,
                "width": head.details["width"],
                "rounds": head.rounds,
                "device": head.boost.device_,
                "fit_seconds": head.fit_seconds,
                "cross_fitted": cross_fitted,
                **({"members": len(head.all)} if head.others else {}),  # of a bagged hybrid
                **self._scored(title, proba, HEAD_REMEDY),
                "against_cnn": against,
            }
        )

    def document(self, images: ImageSet, *, tta: str) -> dict[str, Any]:
        """Put together what `metrics.json` says of any rows."""
        recipe = self._job.recipe
        return {
            "format": FORMAT,
            "recipe": recipe.name,
            "title": recipe.title,
            "split": self.rows.name,
            "images_left_out": len(images.bad),
            "data_digest": images.digest,
            "tta": tta,
            "classes": list(self.rows.classes),
            **self._given(),
            "cnn": self._cnn,
            **({} if self._cnn else {"no_softmax": self._no_softmax}),
            "heads": self._heads,
            **made_with(recipe),
        }

    def _given(self) -> dict[str, Any]:
        """Say how a model file was fed and read, and what its scores are to be taken with."""
        job, rows = self._job, self.rows
        if job.model is None:
            return {}
        notes = [job.feeding.doubt] if job.feeding.doubt else []
        if rows.name == "train" or (rows.name == "validation" and job.images.drawn):
            notes.append(
                f"{job.model} was not trained here: some of the images of {rows.name} may be among those "
                "that it was trained on, and its accuracy on them says little about others. A test split in "
                f"{job.source_shown} would tell."
            )
        return {"given": {"model": str(job.model), "pixels": job.feeding.pixels, "notes": notes}}

    def _scored(self, title: str, proba: np.ndarray, remedy: str) -> dict[str, Any]:
        rows = self.rows
        scores = score(rows.y, proba, rows.classes, **self._options).to_dict()
        if len(rows) == 1:
            _drop_bootstrap(scores)
        areas = area_under_roc(rows.y, proba, rows.classes, confidence=self._options["confidence"])
        return {
            "scores": scores,
            "auc": {name: area.to_dict() for name, area in areas.items()},
            "thresholds": self._thresholds(proba),
            "collapsed": self._collapsed(title, scores, remedy),
        }

    def _thresholds(self, proba: np.ndarray) -> dict[str, Any] | None:
        """Score two classes over the thresholds of the positive one: `data.binary`, else the second."""
        rows = self.rows
        if len(rows.classes) != 2 or len(np.unique(rows.y)) != 2:
            return None
        positive = rows.classes.index(self._positive)
        scores = thresholds(rows.y == positive, proba[:, positive], **self._options)
        return {"positive": self._positive, **scores}

    def _collapsed(self, title: str, scores: dict[str, Any], remedy: str) -> dict[str, Any] | None:
        """Warn of predictions that are nearly all one class."""
        rows = self.rows
        if len(rows) < _TELLING or len(np.unique(rows.y)) < 2:
            return None
        found = find_collapse(scores["confusion"], rows.classes)
        if found is None:
            return None
        learnt = "" if remedy == FOREIGN_CAUSES else "it has learnt the share of the classes and no more; "
        log.warning("%s %s: %slook at %s", title, found, learnt, remedy)
        return found.to_dict()


def _drop_bootstrap(scores: dict[str, Any]) -> None:
    """Take out the intervals from drawing rows again: of one row all draws are the same."""
    for name in ("macro_f1", "average_class_accuracy", "log_loss"):
        scores[name]["interval"] = None
    for row in scores["per_class"]:
        row["f1"]["interval"] = None
