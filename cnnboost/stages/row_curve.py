"""comparison -> how the gain of heads grows with the images that they are fitted on."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from cnnboost.hybrid.crossfit import BagFit, CrossFit
from cnnboost.hybrid.modes import log_loss
from cnnboost.hybrid.rivals import Rival
from cnnboost.images import Split
from cnnboost.metrics.comparison import compare, over_seeds
from cnnboost.stages.hybrids import hybrid_boost
from cnnboost.stages.job import Job

log = logging.getLogger("cnnboost")

SOFTMAX = "softmax"
"""Key of the softmax among the probabilities of heads."""


def compared(
    job: Job, scored: Split, other: str, theirs: np.ndarray, name: str, own: np.ndarray
) -> dict[str, Any]:
    """Compare the probabilities of two heads, with the intervals of the recipe."""
    return compare(scored.y, theirs, own, names=(other, name), **job.recipe.evaluate.intervals).to_dict()


def verdicts(
    name: str, rows: Sequence[Mapping[str, Any]], confidence: float, linear: str | None
) -> dict[str, Any]:
    """Put the differences of a head in several draws together: to the softmax, and to a linear head."""
    found = over_seeds(name, "the softmax", [row["against_softmax"] for row in rows], confidence)
    if linear not in (None, name):
        against = [row["against_linear"] for row in rows]
        found["against_linear"] = over_seeds(name, str(linear), against, confidence)
    return found


class RowCurve:
    """Trees and linear heads that are fitted on `[compare] rows` images each, one draw for each seed."""

    def __init__(self, job: Job, scored: Split, rivals: Sequence[Rival]) -> None:
        self.job, self.scored, self.rivals = job, scored, list(rivals)
        self._compared = partial(compared, job, scored)
        self.sizes = sorted(set(job.recipe.compare.rows))
        self.left_out: list[int] = []
        self.draws: dict[int | None, list[dict[str, Any]]] = {}
        """By the number of images that was asked for; None: all that there are."""

    def check(self, fit: CrossFit | BagFit) -> None:
        """Find out before any head is fitted which sizes there are images for; refuse those too small."""
        for n in self.sizes:
            if n < fit.images_per_head:
                fit.check_rows(n, self.job.recipe.compare.modes)
            elif n not in self.left_out:
                log.warning(
                    "[compare] rows: a head can be fitted on %d images here; left out: %d",
                    fit.images_per_head, n,
                )  # fmt: skip
                self.left_out.append(n)

    def draw(
        self,
        fit: CrossFit | BagFit,
        seed: int,
        whole: Mapping[str, np.ndarray],
        run: Mapping[str, Any],
    ) -> None:
        """Fit on a draw of each size; `whole` are the probabilities of heads that see all images."""
        if not self.sizes:
            return
        most = fit.images_per_head
        modes = self.job.recipe.compare.modes
        names = [*modes, *(rival.name for rival in self.rivals)]
        proba: dict[int | None, dict[str, np.ndarray]] = {None: {name: whole[name] for name in names}}
        for n in self.sizes:
            if n < most:
                proba[n] = {
                    mode: fit.head(mode, hybrid_boost(self.job, mode, seed), n=n).proba for mode in modes
                }
                proba[n] |= {rival.name: fit.rival(rival, n=n).proba for rival in self.rivals}
        calibrated = run["calibrated"]["scores"]["log_loss"]["value"]
        for wanted, of_heads in proba.items():
            n = most if wanted is None else wanted
            rows = {name: self._row(name, of, whole[SOFTMAX], calibrated) for name, of in of_heads.items()}
            for name, row in rows.items():
                log.info(
                    "seed %d, %s on %d images: accuracy %.2f%% (%+.2f points), log-loss %.4f",
                    seed, name, n, 100 * row["accuracy"], 100 * row["against_softmax"]["difference"],
                    row["log_loss"],
                )  # fmt: skip
            self.draws.setdefault(wanted, []).append({"n": n, "seed": seed, "rows": rows, "proba": of_heads})

    def document(self, linear: str | None) -> dict[str, Any]:
        """Return a point for each number of images, with differences to the softmax and a linear head."""
        # A size that is too large for the folds of one seed has no mean over the seeds.
        of_all = [n for n in self.sizes if len(self.draws.get(n, ())) == len(self.draws[None])]
        points = [self._point(self.draws[n], linear) for n in (*of_all, None)]
        return {"points": points, "left_out": [n for n in self.sizes if n not in of_all]}

    def _point(self, draws: Sequence[dict[str, Any]], linear: str | None) -> dict[str, Any]:
        confidence, heads = self.job.recipe.evaluate.confidence, {}
        for name in draws[0]["rows"]:
            rows = [draw["rows"][name] for draw in draws]
            if linear not in (None, name):
                for draw, row in zip(draws, rows, strict=True):
                    of = draw["proba"]
                    row["against_linear"] = self._compared(str(linear), of[linear], name, of[name])
            means = ("accuracy", "log_loss", "log_loss_difference")
            heads[name] = {
                **{key: statistics.fmean(row[key] for row in rows) for key in means},
                **verdicts(name, rows, confidence, linear),
                "draws": [{"seed": draw["seed"], **row} for draw, row in zip(draws, rows, strict=True)],
            }
        # All images are not as many in each draw, as equal ones stay together.
        return {"n": min(draw["n"] for draw in draws), "heads": heads}

    def _row(self, name: str, proba: np.ndarray, softmax: np.ndarray, calibrated: float) -> dict[str, Any]:
        loss = log_loss(proba, self.scored.y)
        return {
            "accuracy": float((proba.argmax(axis=1) == self.scored.y).mean()),
            "log_loss": loss,
            "log_loss_difference": loss - calibrated,
            "against_softmax": self._compared("the softmax", softmax, name, proba),
        }
