"""Several machines, played by processes of this one: extraction and training on 1, 2, ... workers.

Not a test: `make bench-cluster` runs it, prints ratios beside the goals, and adds them to a report. Features
and images are made on the spot, in a folder that is removed at the end. What is compared is run in turn, on
the same files; every run has a client of its own in a process of its own, whose memory is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tests.benchmarks.line import Table, peak_mib
from tests.benchmarks.scale import CLASSES, PARAMETERS, make_features, write_table

IMAGES, SIDE, CHANNELS = 16_384, 96, 3
THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def measured(task: str, folder: Path, workers: int, *arguments: object) -> dict[str, Any]:
    """Run one measurement in a process of its own, on one thread where there are no workers."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.cluster",
        "--worker",
        task,
        folder,
        workers,
        *arguments,
    ]
    environment = {**os.environ, **(THREAD if workers == 0 else {})}
    done = subprocess.run(
        list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def make_images(folder: Path, n: int) -> None:
    """Write images of noise as one array, and a network that takes some milliseconds for each."""
    import keras

    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, SIDE, SIDE, CHANNELS), np.uint8)
    np.savez(folder / "images.npz", X=X, y=np.arange(n) % 7)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    keras.Sequential(
        [
            keras.Input((SIDE, SIDE, CHANNELS)),
            layers.Rescaling(1 / 255),
            *(layers.Conv2D(width, 3, strides=2, activation="relu") for width in (32, 64, 128)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(256, activation="relu", name="fc1"),
            layers.Dense(7, activation="softmax"),
        ]
    ).save(folder / "cnn.keras")


def cluster(workers: int) -> Any:
    """Return a context with a client; None where there are no workers."""
    from contextlib import nullcontext

    from cnnboost.cluster.connection import connected

    return connected(f"local:{workers}") if workers else nullcontext(None)


def extract(folder: Path, workers: int) -> dict[str, Any]:
    """Extract `fc1` of all images; images are decoded, and workers have begun, before the clock runs."""
    from cnnboost.config.experiment import checked
    from cnnboost.stages import Job
    from cnnboost.stages.extraction import extract as bring

    recipe = checked({"name": f"workers-{workers}", "data": {"validation_fraction": 0}})
    with cluster(workers) as client:
        job = Job(
            recipe, folder / "images.npz", models=folder / "models", model=folder / "cnn.keras", client=client
        )
        n = len(job.images)
        if client is not None:
            client.run(_load)
        started = time.perf_counter()
        bring(job, ["fc1"])
        seconds = time.perf_counter() - started
    return {"workers": workers, "images": n, "seconds": seconds, "peak_mib": peak_mib()}


def _load() -> None:
    import cnnboost.deploy.worker  # noqa: F401


def fit(folder: Path, workers: int, rounds: int) -> dict[str, Any]:
    """Fit on features on the disk, reading included."""
    from cnnboost import BoostClassifier
    from cnnboost.features import FeatureParts

    X, y = FeatureParts.open(sorted(folder.glob("part-*.npy"))), np.load(folder / "labels.npy")
    with cluster(workers) as client:
        if client is not None:
            client.run(_load)
        head = BoostClassifier(n_estimators=rounds, n_jobs=1 if workers == 0 else None, **PARAMETERS)
        before, started = loopback_bytes(), time.perf_counter()
        head.fit(X, y, client=client)
        seconds = time.perf_counter() - started
    sent = (loopback_bytes() - before) / max(1, workers)
    found = {"workers": workers, "rows": len(X), "seconds": seconds, "sent": sent, "peak_mib": peak_mib()}
    return {**found, "row_seconds": seconds / len(X) / rounds}


def loopback_bytes() -> int:
    """Return what has gone over the loopback device so far, where Linux tells."""
    counters = Path("/proc/net/dev")
    lines = counters.read_text().splitlines() if counters.is_file() else []
    return sum(int(line.split()[1]) for line in lines if line.lstrip().startswith("lo:"))


def histogram_bytes(workers: int, width: int) -> float:
    """Return what the formula of docs/scale.md says that a worker sends in a round."""
    nodes = CLASSES * (2 ** PARAMETERS["max_depth"] - 1) / 2
    return 2 * (workers - 1) / workers * 16 * width * 256 * nodes


def main() -> None:
    """Run the measurements, print them, and add them to a report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--workers", default="1,2", help="numbers of workers, 1 and 2 among them")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        task, folder, workers, *rest = options.worker
        found = {"extract": extract, "fit": fit}[task](Path(folder), int(workers), *map(int, rest))
        print(json.dumps(found))
        return
    counts = [int(count) for count in options.workers.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="cnnboost-cluster-"))
    os.environ["CNNBOOST_CACHE"] = str(folder / "cache")
    try:
        make_images(folder, options.images)
        rows = make_features(folder, options.gigabytes, options.width)
        extractions = {n: measured("extract", folder, n) for n in (0, *counts)}
        fits = {n: measured("fit", folder, n, options.rounds) for n in (0, *counts)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table()
    for name, found, goal in (("extraction", extractions, 1.8), ("training", fits, 1.7)):
        seconds = {n: found[n]["seconds"] for n in found}
        for n in counts[1:]:
            figures = {"one": f"{seconds[1]:.1f} s", "several": f"{seconds[n]:.1f} s"}
            ratio, wanted = seconds[1] / seconds[n], goal * n / 2
            # More workers than cores tell what their number costs, not what it gains.
            fair = n <= (os.cpu_count() or 1)
            table.add(
                f"{name}, {n} workers / 1{'' if fair else ', on fewer cores'}", ratio,
                f">= {wanted:g}" if fair else "-", ratio >= wanted or not fair, **figures,
            )  # fmt: skip
        ratio = seconds[0] / seconds[1]
        figures = {"without": f"{seconds[0]:.1f} s"}
        table.add(f"{name}, 1 worker / no Dask", ratio, ">= 0.9", ratio >= 0.9, **figures)
    each = fits[1]["row_seconds"] / (options.width * CLASSES * PARAMETERS["max_depth"]) * 1e9
    table.add("a row, feature, class, level and round on one worker, ns", each, "-", True, rows=rows)
    each = 1000 * extractions[1]["seconds"] / extractions[1]["images"]
    table.add("an image through the trunk on one worker, ms", each, "-", True, side=SIDE)
    for n in counts[1:]:
        sent = fits[n]["sent"] / options.rounds / 1e9
        figures = {"workers": n, "formula": f"{histogram_bytes(n, options.width) / 1e9:.2f} GB"}
        table.add(f"sent by each of {n} workers in a round, GB", sent, "-", True, **figures)
    peak = max(fits[n]["peak_mib"] for n in counts)
    figures = {"rows": rows, "width": options.width, "rounds": options.rounds}
    table.add("memory of the client of a fit, MiB", peak, "<= 500", peak <= 500, **figures)
    peak = max(extractions[n]["peak_mib"] for n in counts)
    table.add(
        "memory of the client of an extraction, MiB", peak, "<= 500", peak <= 500, images=options.images
    )
    if options.json:
        write_table(options.json, table)


if __name__ == "__main__":
    main()
