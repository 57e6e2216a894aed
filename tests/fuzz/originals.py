"""The undamaged files: a toy recipe, walked once from images to card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost import stages
from cnnboost.config import load_recipe
from cnnboost.files import read_json, write_json
from cnnboost.search import search
from cnnboost.stages.card import HEADINGS
from cnnboost.stages.reporting import report

_MEASURED = Path(__file__).parents[1] / "report" / "report_facts.json"

WORDS = "# For editors\n\n" + "\n".join(f"## {heading}\n\nOf {heading}.\n" for heading in HEADINGS.values())

RECIPE = """
title = "Toy"

[data]
source = "{source}"
size = 8
channels = 1

[cnn]
architecture = "digits"
epochs = 1
options = {{ filters = [4], dense = [6, 5] }}

[cut]
layers = ["fc1", "output"]

[boost]
n_estimators = 2
max_depth = 2

[hybrid.boost]
n_estimators = 2

[compare]
seeds = 1
folds = 2
modes = ["residual"]

[evaluate]
resamples = 100

[search]
sampler = "grid"
target = "fc1"
trials = 2
fraction = 0.3

[search.space]
"boost.max_depth" = {{ choices = [1, 2] }}
"""


def network() -> Any:
    """Build a small network."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Conv2D(2, 3, activation="relu"),
            layers.BatchNormalization(), layers.Flatten(),
            layers.Dense(4, "relu", name="hidden"), layers.Dense(3, "softmax"),
        ]
    )  # fmt: skip


def toy_job(run: Path, **changes: Any) -> stages.Job:
    """Return the job of the toy recipe."""
    return stages.Job(
        **{
            "recipe": load_recipe(run / "toy.toml"),
            "models": run / "models",
            "reports": run / "reports",
            **changes,
        }
    )


def make(folder: Path) -> None:
    """Make all originals in a folder."""
    import keras

    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)  # of a process that was killed
    run.mkdir(parents=True)
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = (rng.integers(0, 120, (120, 8, 8)) + 60 * y[:, None, None]).astype(np.uint8)
    X[90:, 0, 0] = 255 - X[90:, 0, 0]  # no image of one split is one of another
    source = run / "toy.npz"
    np.savez(
        source, x_train=X[:60], y_train=y[:60], x_val=X[60:90], y_val=y[60:90], x_test=X[90:], y_test=y[90:]
    )
    (run / "toy.toml").write_text(RECIPE.format(source=source))
    job = toy_job(run)
    stages.inspect(job)
    stages.export(job)
    stages.evaluate(job)
    stages.compare_modes(job)
    stages.overfit(job, 6, steps=2)
    search(job)
    metadata = json.loads(_MEASURED.read_text(encoding="utf-8"))
    write_json(job.reports_dir / "latency.json", metadata["latency"])
    shutil.copy(job.reports_dir / "search.json", job.reports_dir / "study-one.json")
    metrics = read_json(job.reports_dir / "metrics.json")
    write_json(job.reports_dir / "other" / "photos" / "metrics.json", {**metrics, "source_name": "photos"})
    report(job, pictures=False)
    networks = folder / "networks"
    networks.mkdir()  # the last one: where it is, all are
    model = network()
    model.save(networks / "a.keras")
    model.save(networks / "a.h5")
    inner = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(2, 3, padding="same")(inner)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, keras.layers.Activation("relu")(x)]))
    functional = keras.Model(inner, keras.layers.Dense(2, "softmax")(x))
    functional.save(networks / "b.keras")
    functional.save(networks / "b.h5")
