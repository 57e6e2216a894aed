"""Speed and memory of the line against plain libraries, side by side in one run.

Not a test: `make bench-line` runs it on the FER-2013 archive and prints ratios beside the goals. What is
compared runs in turn, A B A B, so that drift of the machine hits both; a ratio is that of the medians. Times
are wall-clock seconds; peak memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

LAYERS = ("flatten", "fc1", "fc2", "output")
PARAMETERS = {"max_depth": 8, "learning_rate": 0.2, "reg_lambda": 1e-4}
ROUNDS = 20


class Table:
    """Rows of (what, ratio, goal) with the figures behind them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, value: float, goal: str, met: bool, **figures: Any) -> None:
        self.rows.append({"what": what, "value": round(value, 4), "goal": goal, "met": met, **figures})
        detail = ", ".join(f"{name} {figure}" for name, figure in figures.items())
        print(f"{what:<62} {value:8.3f}  {goal:<12} {'met' if met else 'NOT MET':<8} {detail}", flush=True)


def alternate(runs: int, *functions: Callable[[], Any]) -> list[float]:
    """Time functions in turn; return the median seconds of each."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(runs):
        for function, found in zip(functions, times, strict=True):
            gc.collect()
            started = time.perf_counter()
            function()
            found.append(time.perf_counter() - started)
    return [statistics.median(found) for found in times]


def worker(*arguments: str) -> dict[str, float]:
    """Run one measurement of this script in a process of its own."""
    command = [sys.executable, __file__, "--worker", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_mib() -> float:
    """Peak resident memory of this process; getrusage would count what its parent had before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(task: str, *arguments: str) -> dict[str, float]:
    """Do what `worker` asked for."""
    started = time.perf_counter()
    if task in ("boost", "xgboost"):
        folder = Path(arguments[0])
        X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
        import xgboost

        from cnnboost import BoostClassifier

        started = time.perf_counter()
        if task == "boost":
            BoostClassifier(n_estimators=ROUNDS, device="cpu", **PARAMETERS).fit(X, y)
        else:
            metadata = {"objective": "multi:softprob", "num_class": 7, "tree_method": "hist", **PARAMETERS}
            xgboost.train(metadata, xgboost.DMatrix(X, y), ROUNDS)
        return {"seconds": time.perf_counter() - started, "peak": peak_mib()}
    if task == "extract":
        model, data, rows, folder = arguments
        _extract(Path(model), data, int(rows), Path(folder), LAYERS)
        return {"seconds": time.perf_counter() - started, "peak": peak_mib()}
    raise SystemExit(f"no task {task}")


def _job(model: Path, data: str, folder: Path, rows: int | None = None) -> Any:
    from cnnboost.config import load_recipe
    from cnnboost.stages import Job

    job = Job(recipe=load_recipe("oslo"), data=data, models=folder, model=model)
    if rows is not None:
        job = job.with_images(job.images.select(job.images.train.rows[:rows]))
    return job


def _extract(model: Path, data: str, rows: int, folder: Path, layers: tuple[str, ...]) -> None:
    from cnnboost import stages

    stages.extract(_job(model, data, folder, rows), layers, ["train"])


def bench_start(table: Table, runs: int) -> None:
    program = str(Path(sys.executable).parent / "cnnboost")

    def run(*command: str) -> Callable[[], Any]:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    ours, theirs = alternate(runs, run(program, "--help"), run(sys.executable, "-c", "import tensorflow"))
    table.add(
        "`cnnboost --help` / `import tensorflow`", ours / theirs, "<= 0.1", ours / theirs <= 0.1,
        ours=f"{ours:.3f} s", theirs=f"{theirs:.2f} s",
    )  # fmt: skip


def bench_decoding(table: Table, data: Path, runs: int, folder: Path) -> None:
    from PIL import Image

    from cnnboost import load_images

    def naive() -> None:
        with zipfile.ZipFile(data) as archive:
            names = [name for name in archive.namelist() if name.endswith(".jpg")]
            np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names])

    caches = iter(range(1000))
    first, loop = alternate(runs, lambda: load_images(data, cache=folder / str(next(caches))), naive)
    table.add(
        "Pillow loop / first load of the zip", loop / first, ">= 1.3", loop / first >= 1.3,
        ours=f"{first:.2f} s", theirs=f"{loop:.2f} s",
    )  # fmt: skip
    (second,) = alternate(runs, lambda: load_images(data, cache=folder / "0"))
    table.add(
        "second load / first load",
        second / first,
        "<= 0.05",
        second / first <= 0.05,
        second=f"{second:.3f} s",
    )


def bench_extraction(table: Table, model: Path, data: Path, runs: int, folder: Path) -> None:
    from cnnboost import load_images
    from cnnboost.cnn.model_file import read_model
    from cnnboost.features.cut import Cut

    images = load_images(data, size=48, channels=1)
    rows = len(images.train)

    def extract(layers: tuple[str, ...]) -> Callable[[], Any]:
        def run() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as store:
                _extract(model, str(data), rows, Path(store), layers)

        return run

    # What users write: a trunk to the deepest layer, `predict` over float images in batches of 32.
    trunk = Cut(read_model(model)).trunk(["output"])
    floats = images.train.X.astype(np.float32)

    def predict() -> None:
        trunk.predict(floats, batch_size=32, verbose=0)

    extract(LAYERS)()
    predict()
    # Pair by pair: what runs after `predict` finds other caches than what runs after an extraction.
    four, one = alternate(runs, extract(LAYERS), extract(LAYERS[-1:]))
    table.add(
        "extract four layers / the deepest alone", four / one, "<= 1.1", four / one <= 1.1,
        four=f"{four:.2f} s", one=f"{one:.2f} s", images=rows,
    )  # fmt: skip
    keras, four = alternate(runs, predict, extract(LAYERS))
    table.add(
        "keras predict, batch 32, one layer / extract four layers", keras / four, "> 1", keras / four > 1,
        four=f"{four:.2f} s", theirs=f"{keras:.2f} s",
    )  # fmt: skip
    small = worker("extract", str(model), str(data), str(rows // 4), str(folder / "small"))["peak"]
    large = worker("extract", str(model), str(data), str(rows), str(folder / "large"))["peak"]
    # The images and the stored features are files: their pages are the system's to give back.
    table.add(
        "peak memory of extract, all images / a quarter of them", large / small, "~ 1", large / small <= 1.15,
        quarter=f"{small:.0f} MiB", all=f"{large:.0f} MiB",
    )  # fmt: skip


def bench_boost(table: Table, model: Path, data: Path, runs: int, folder: Path) -> None:
    from cnnboost import stages

    extracted = stages.extract(_job(model, str(data), folder / "boost"), ["fc1", "flatten"], ["train"])[
        "train"
    ]
    for layer, times in (("fc1", runs), ("flatten", max(2, runs // 2))):
        place = folder / layer
        place.mkdir()
        np.save(place / "X.npy", extracted.stored[layer].X)
        np.save(place / "y.npy", extracted.split.y)
        found: dict[str, list[dict[str, float]]] = {"boost": [], "xgboost": []}
        for _ in range(times):
            for task, results in found.items():
                results.append(worker(task, str(place)))
        ours, theirs = (
            {key: statistics.median(r[key] for r in found[task]) for key in ("seconds", "peak")}
            for task in found
        )
        time_ratio, memory_ratio = ours["seconds"] / theirs["seconds"], ours["peak"] / theirs["peak"]
        table.add(
            f"fit on {layer} / xgboost.train, time", time_ratio, "<= 1.05", time_ratio <= 1.05,
            ours=f"{ours['seconds']:.2f} s", theirs=f"{theirs['seconds']:.2f} s",
        )  # fmt: skip
        table.add(
            f"fit on {layer} / xgboost.train, peak memory", memory_ratio, "<= 1.2", memory_ratio <= 1.2,
            ours=f"{ours['peak']:.0f} MiB", theirs=f"{theirs['peak']:.0f} MiB",
        )  # fmt: skip


def bench_memory(table: Table, model: Path) -> None:
    import psutil

    from cnnboost import CNNClassifier

    cnn = CNNClassifier.load(model)
    image = np.zeros((1, 48, 48, 1), np.uint8)
    for _ in range(200):
        cnn.predict_proba(image)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for _ in range(5000):
        cnn.predict_proba(image)
    gc.collect()
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    table.add("MiB grown over 5,000 single predict_proba", grown, "~ 0", abs(grown) < 5)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the FER-2013 archive")
    parser.add_argument(
        "--model", type=Path, help="a trained oslo cnn.keras; default: one epoch, trained here"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        raise SystemExit(f"{arguments.data}: no such file; give the FER-2013 archive with --data")
    table = Table()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CNNBOOST_CACHE"] = str(folder / "cache")
        model = arguments.model
        if model is None:
            from cnnboost import CNNClassifier, load_images

            train = load_images(arguments.data).train
            model = CNNClassifier("oslo", epochs=1).fit(train.X, train.y).save(folder / "cnn.keras")
        bench_start(table, arguments.runs)
        bench_decoding(table, arguments.data, arguments.runs, folder)
        bench_extraction(table, model, arguments.data, arguments.runs, folder)
        bench_boost(table, model, arguments.data, arguments.runs, folder)
        bench_memory(table, model)
    if arguments.json:
        from cnnboost.files import write_json
        from cnnboost.stages.provenance import machine, versions

        write_json(arguments.json, {"rows": table.rows, "machine": machine(), "versions": versions()})
    missed = [row["what"] for row in table.rows if not row["met"]]
    print(
        f"\n{len(table.rows) - len(missed)} of {len(table.rows)} goals met"
        + "".join(f"\n  not met: {w}" for w in missed)
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(work(*sys.argv[2:])))
    else:
        main()
