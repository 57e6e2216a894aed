"""comparisons of many networks -> when a head betters its network's softmax, and whether trees do so best."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnboost.documents import Document, read_document
from cnnboost.errors import StoreError
from cnnboost.files import write_json
from cnnboost.metrics.comparison import mcnemar
from cnnboost.report.gains import GAINS_FIGURE, plot_gains
from cnnboost.report.plots import save_figure
from cnnboost.stages.comparison import FORMAT, heads_of
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.reporting import SMOKE, expecting


class Comparison(Document):
    """`compare.json`, as far as it is put together with others."""

    format: int
    recipe: str
    split: str
    n: int
    networks: list[str]
    train_accuracy: list[float]
    best_linear: str | None
    runs: list[dict[str, Any]]
    recipe_facts: dict[str, Any]


def compare_networks(reports: Path) -> Outcome:
    """Put the comparisons below a folder together: a pair of network and images each."""
    pairs: list[dict[str, Any]] = []
    left_out: list[str] = []
    for path in sorted(reports.rglob("compare.json")):
        remedy = "run cnnboost compare again, or remove it"
        if path.parent.name.endswith(SMOKE):
            continue
        name = str(path.relative_to(reports))
        if read_document(path, Document, remedy).get("format") != FORMAT:
            left_out.append(f"{name} (of another version)")
            continue
        compared = read_document(path, Comparison, remedy)
        with expecting(f"{path}: it is", remedy):
            found = _pairs(compared)
        known = [(pair["network"], pair["split"], pair["n"]) for pair in pairs]
        new = [pair for pair in found if (pair["network"], pair["split"], pair["n"]) not in known]
        if len(new) < len(found):
            left_out.append(f"{name} (networks that are there already)")
        pairs += new
    if not pairs:
        older = f"; left out: {', '.join(left_out)}" if left_out else ""
        raise StoreError(f"{reports}: there are no comparisons{older}; cnnboost compare -r RECIPE makes them")
    document = {"format": 1, "pairs": pairs, "left_out": left_out, "summary": summarise_pairs(pairs)}
    path = write_json(reports / "gains.json", document)
    return Outcome(document, path, [save_figure(plot_gains(document), reports / GAINS_FIGURE)])


def _pairs(compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was found with each network of a comparison: means over its seeds."""
    pairs = []
    for number, (digest, train) in enumerate(
        zip(compared["networks"], compared["train_accuracy"], strict=True)
    ):
        runs = [run for run in compared["runs"] if run["network"] == number]
        if not runs:  # fewer seeds than networks
            continue
        softmax = runs[0]["softmax"]["scores"]["accuracy"]["value"]
        linear = compared["best_linear"]
        rows = [heads_of(run) for run in runs]
        pairs.append(
            {
                "recipe": compared["recipe"],
                "epochs": compared["recipe_facts"]["cnn"]["epochs"],
                "network": digest,
                "split": compared["split"],
                "n": compared["n"],
                "seeds": len(runs),
                "train_accuracy": train,
                "accuracy": softmax,
                "gap": train - softmax,
                "best_linear": linear,
                "heads": {name: _gains([of[name] for of in rows], linear, rows) for name in rows[0]},
            }
        )
    return pairs


def _gains(
    of_head: Sequence[Mapping[str, Any]], linear: str | None, rows: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """Return what a head gains: accuracy in shares, log-loss in nats, both better above 0."""
    mean = statistics.fmean
    log_loss = -mean(row["log_loss_difference"] for row in of_head)
    found: dict[str, float | None] = {
        "accuracy": mean(row["against_softmax"]["difference"] for row in of_head),
        "log_loss": log_loss,
        "accuracy_to_linear": None,
        "log_loss_to_linear": None,
    }
    if linear is not None and all("against_linear" in row for row in of_head):
        found["accuracy_to_linear"] = mean(row["against_linear"]["difference"] for row in of_head)
        found["log_loss_to_linear"] = log_loss + mean(of[linear]["log_loss_difference"] for of in rows)
    return found


def summarise_pairs(pairs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Count the networks on which each head gains: sign test, and correlation with the gap."""
    names = dict.fromkeys(name for pair in pairs for name in pair["heads"])
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        found[name] = {}
        for what in ("accuracy", "log_loss", "accuracy_to_linear", "log_loss_to_linear"):
            known = [pair for pair in pairs if pair["heads"].get(name, {}).get(what) is not None]
            gains = [pair["heads"][name][what] for pair in known]
            if gains:
                better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
                found[name][what] = {
                    "pairs": len(gains),
                    "better": better,
                    "worse": worse,
                    "median": statistics.median(gains),
                    "p_value": mcnemar(worse, better),  # of two kinds of pairs: the sign test
                    **_with_gap([pair["gap"] for pair in known], gains),
                }
    return found


def _with_gap(gaps: Sequence[float], gains: Sequence[float]) -> dict[str, float | None]:
    """Return Spearman's correlation of gain and gap; of few or equal values there is none."""
    from scipy.stats import spearmanr

    if len(gains) < 4 or len(set(gaps)) == 1 or len(set(gains)) == 1:
        return {"correlation": None, "correlation_p_value": None}
    rho, p_value = spearmanr(gaps, gains)
    return {"correlation": float(rho), "correlation_p_value": float(p_value)}
