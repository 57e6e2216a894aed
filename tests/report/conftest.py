from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnnboost.report.recipe_page import Findings, Mistake
from tests.report.html import PNG

FACTS = Path(__file__).with_name("report_facts.json")
SPREAD = {"max": 0.6, "min": 0.5, "std": 0.051234, "variance": 0.002624, "mean": 0.55}


@pytest.fixture
def findings():
    """Everything that a page can show: the published report, mistakes, repeated runs and notes."""
    # Scores, audit and latencies of a recipe on FER-2013, as the commands write them, shortened.
    metadata = json.loads(FACTS.read_text(encoding="utf-8"))
    metrics = metadata["metrics"]
    stems = ["class-distribution", "history", "latency", "confusion-cnn"]
    stems += [f"confusion-{head['layer']}" for head in metrics["heads"]]
    classes = [
        {"name": name, "support": 9, "precision": SPREAD, "recall": SPREAD, "f1": SPREAD}
        for name in metrics["classes"]
    ]
    repeats = {
        "repeats": 2,
        "split": "validation",
        "runs": [{"seed": 0}, {"seed": 1}],
        "cnn": {"accuracy": SPREAD, "per_class": classes},
        "heads": [{"layer": "fc1", "mode": "plain", "accuracy": SPREAD, "per_class": classes}],
    }
    mistakes = [Mistake(PNG, f"test/happy/PublicTest_{i}.jpg", "happy", "sad", 0.99) for i in range(12)]
    return Findings(
        metrics,
        metadata["audit"],
        metadata["latency"],
        repeats,
        {f"{stem}.png": PNG for stem in stems},
        "Why they differ.\n\nSecond paragraph.",
        mistakes,
    )


@pytest.fixture
def search():
    """What `cnnboost tune` writes of a search over two keys, with a failed trial."""

    def trial(number, value, rate, depth, error=None):
        return {
            "number": number,
            "state": "fail" if error else "complete",
            "value": value,
            "interval": None if error else [value - 0.05, value + 0.05],
            "values": {"boost.learning_rate": rate, "boost.max_depth": depth},
            "seconds": None if error else 2.5,
            "error": error,
            "history": None,
        }

    trials = [trial(0, 0.51, 0.1, 4), trial(1, 0.55, 0.2, 6), trial(2, None, 0.3, 99, "too deep")]
    return {
        "format": 1,
        "recipe": "oslo",
        "study": "trees",
        "title": "How deep the trees go",
        "target": "fc1",
        "metric": "accuracy",
        "sampler": "tpe",
        "stages": 1,
        "seed": 7,
        "set": {"boost.n_estimators": 10},
        "space": {
            "boost.learning_rate": {"low": 0.05, "high": 0.3, "log": True},
            "boost.max_depth": {"choices": [4, 6, 99]},
        },
        "part": 0.2,
        "judged_on": "10% of a part of train (20%)",
        "images": {"train": 5168, "validation": 574},
        "best": {"value": 0.55, "values": trials[1]["values"], "number": 1},
        "trials": trials,
        "importances": {"boost.max_depth": 0.25, "boost.learning_rate": 0.75},
        "figures": [{"file": "study-trees-trials.png", "title": "Each trial"}],
    }


@pytest.fixture
def overfit():
    """What `cnnboost train --overfit` writes of a network that learns."""
    return {
        "format": 1,
        "recipe": "oslo",
        "learnt": True,
        "images": 60,
        "classes": {"happy": 20, "sad": 40},
        "accuracy": 1.0,
        "epochs": 27,
        "steps": 1054,
        "steps_at_most": 2000,
        "failure": None,
        "symptoms": [],
        "switched_off": ["balance=True"],
        "seed": 3,
        "history": {"loss": [2.25, 0.125], "accuracy": [0.25, 1.0]},
    }


def scores(accuracy, log_loss):
    named = {"accuracy": accuracy, "log_loss": log_loss, "calibration_error": 0.02}
    return {"scores": {name: {"value": value, "interval": None} for name, value in named.items()}}


@pytest.fixture
def compared():
    """What `compare` wrote before it knew other heads, of two seeds and one mode."""
    against = {"difference": 0.01, "difference_interval": [0.002, 0.018], "p_value": 0.01}
    run = {
        "softmax": scores(0.57, 1.12),
        "calibrated": scores(0.57, 1.1),
        "modes": {
            "residual": {**scores(0.58, 1.08), "against_softmax": against, "log_loss_difference": -0.02}
        },
    }
    return {
        "split": "validation",
        "n": 3589,
        "layers": ["fc1"],
        "hybrid": {"tta": "flip"},
        "compare": {"networks": 1},
        "confidence": 0.95,
        "grown_on": "train",
        "chosen_on": "the other 4 of 5 folds of validation",
        "runs": [{"seed": 0, **run}, {"seed": 1, **run}],
        "summary": {
            "residual": {
                "accuracy": 0.58,
                "difference": 0.01,
                "lowest_difference": 0.01,
                "highest_difference": 0.01,
                "log_loss": 1.08,
                "log_loss_difference": -0.02,
                "median_p_value": 0.01,
                "verdict": "residual is better than the softmax by 1.00 percentage points",
            }
        },
    }


@pytest.fixture
def rivals(compared):
    """What `compare` writes, of two seeds, one mode and one linear head."""
    against = compared["runs"][0]["modes"]["residual"]["against_softmax"]
    for run in compared["runs"]:
        run["modes"] = {"residual": {**run["modes"]["residual"], "against_linear": against}}
        row = {**scores(0.575, 1.09), "linear": True, "chosen": []}
        run["heads"] = {"linear_svm": {**row, "against_softmax": against, "log_loss_difference": -0.01}}
    residual = compared["summary"]["residual"]
    verdict = "residual is better than linear_svm by 0.50 percentage points"
    summary = {
        "residual": {**residual, "against_linear": {**residual, "difference": 0.005, "verdict": verdict}},
        "linear_svm": {**residual, "accuracy": 0.575, "verdict": "linear_svm is better than the softmax"},
    }
    return {**compared, "best_linear": "linear_svm", "summary": summary}
