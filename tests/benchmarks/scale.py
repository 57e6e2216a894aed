"""More than the memory holds: fits on features on the disk, and images that are streamed through a trunk.

Not a test: `make bench-scale` runs it and prints ratios beside the goals. Features and images are made on the
spot, in a folder that is removed at the end; `--gigabytes` and `--images` make a small run of it. Each
measurement has a process of its own; times are wall-clock seconds, peaks are of resident memory, mapped files
among it.
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

CLASSES = 7
PARAMETERS = {"max_depth": 6, "learning_rate": 0.3, "device": "cpu", "early_stopping_rounds": None}
PART_BYTES = 64 << 20
CHUNK = 512
HELD_OUT = 40_000
SIDE = 224


def worker(task: str, *arguments: object) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--worker", task, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def make_rows(number: int, rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Make rows whose class shows in a few columns among others of noise; trees learn some of it."""
    rng = np.random.default_rng([number, width])
    y = rng.integers(0, CLASSES, rows)
    X = rng.standard_normal((rows, width), dtype=np.float32)
    centres = np.random.default_rng(0).normal(scale=0.45, size=(CLASSES, min(32, width))).astype(np.float32)
    X[:, : centres.shape[1]] += centres[y]
    return X, y


def make_features(folder: Path, gigabytes: float, width: int) -> int:
    """Write features in parts as the store does, and labels; return how many rows."""
    size = min(PART_BYTES, gigabytes * 1e9 / 10)
    rows = max(1, int(size) // (4 * width))
    n_parts = max(10, round(gigabytes * 1e9 / (rows * width * 4)))
    labels = []
    for number in range(n_parts):
        X, y = make_rows(number, rows, width)
        np.save(folder / f"part-{number:05}.npy", X)
        labels.append(y)
    np.save(folder / "labels", np.concatenate(labels))
    return n_parts * rows


def make_images(folder: Path, images: int) -> None:
    """Write JPEG files in class folders: smooth shapes with grain, a few hundred different ones."""
    import io

    from PIL import Image

    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(256):
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = rng.integers(-12, 13, pixels.shape, dtype=np.int16)
        file = io.BytesIO()
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        encoded.append(file.getvalue())
    for number in range(CLASSES):
        (folder / "train" / f"class-{number}").mkdir(parents=True)
    for number in range(images):
        # A comment marker tells the files apart, so that each has bytes of its own.
        comment = b"\xff\xfe" + (10).to_bytes(2, "big") + number.to_bytes(8, "big")
        data = encoded[number % len(encoded)]
        path = folder / "train" / f"class-{number % CLASSES}" / f"{number:07}.jpg"
        path.write_bytes(data[:2] + comment + data[2:])


def make_network(path: Path) -> None:
    """Write an untrained network of about 1 GFLOP an image."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.Input((SIDE, SIDE, 3)), keras.layers.Rescaling(1 / 255)]
    for filters in (64, 128, 256, 512):
        layers.append(keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu"))
    layers += [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(64, activation="relu", name="fc1"),
        keras.layers.Dense(CLASSES, activation="softmax", name="output"),
    ]
    keras.Sequential(layers).save(path)


def work(task: str, *arguments: str) -> dict[str, Any]:
    """Do what `worker` asked for."""
    if task in ("memory", "disk"):
        return _fit(task, *arguments)
    if task == "network":
        make_network(Path(arguments[0]))
        return {}
    return _images(task, *arguments)


def _fit(task: str, folder: str, parts: str, rounds: str, width: str, memory: str) -> dict[str, Any]:
    from cnnboost import BoostClassifier, FeatureParts

    files = sorted(Path(folder).glob("part-*.npy"))[: int(parts)]
    opened = FeatureParts.open(files)
    y = np.load(Path(folder) / "labels.npy", mmap_mode="r")[: len(opened)]
    head = BoostClassifier(n_estimators=int(rounds), **PARAMETERS)
    import xgboost  # noqa: F401 - its import is not part of a fit

    if task == "memory":
        X = np.concatenate([np.load(file) for file in files])
        started = time.perf_counter()
        head.fit(X, y)
    else:
        started = time.perf_counter()
        head.fit(opened, y, memory=memory)
    seconds, peak = time.perf_counter() - started, peak_mib()
    X, y = make_rows(1_000_000, HELD_OUT, int(width))
    return {
        "seconds": seconds,
        "peak": peak,
        "rows": len(opened),
        "per_row_and_round": seconds / len(opened) / int(rounds),
        "accuracy": float(head.score(X, y)),
    }


def _images(task: str, folder: str, model: str, images: str) -> dict[str, Any]:
    from cnnboost import load_images, stages
    from cnnboost.cnn.inference import Inference
    from cnnboost.cnn.model_file import read_model
    from cnnboost.config import load_recipe
    from cnnboost.features.cut import Cut

    n = int(images)
    if task == "decode":
        found = load_images(Path(folder), size=SIDE, channels=3, stream_above=0, validation_fraction=0)
        found = found.select(np.arange(n))
        started = time.perf_counter()
        done = sum(len(chunk) for chunk in found.chunks(CHUNK))
    elif task == "trunk":
        trunk = Inference(Cut(read_model(Path(model))).trunk(["fc1"]), "raw")
        chunk = np.random.default_rng(0).integers(0, 256, (CHUNK, SIDE, SIDE, 3), dtype=np.uint8)
        trunk(chunk)
        started, done = time.perf_counter(), 0
        while done < n:
            trunk(chunk)
            done += CHUNK
    else:
        with tempfile.TemporaryDirectory(dir=Path(folder).parent) as models:
            job = stages.Job(
                recipe=load_recipe("oslo"),
                data=folder,
                model=Path(model),
                models=Path(models),
                image_cache=False,
            )
            job = job.with_images(job.images.select(np.arange(n)))
            started = time.perf_counter()
            found = stages.extract(job, ["fc1"], ["train"])
            done = found["train"].stored["fc1"].spec.rows
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "rate": done / seconds, "peak": peak_mib()}


def bench_fit(table: Table, folder: Path, options: argparse.Namespace) -> None:
    """Measure fits on features on the disk against those in memory on a tenth of them."""
    rows = make_features(folder, options.gigabytes, options.width)
    n_parts = len(list(folder.glob("part-*.npy")))
    tenth = n_parts // 10
    common = (options.rounds, options.width)
    whole = worker("disk", folder, n_parts, *common, options.memory)
    memory = worker("memory", folder, tenth, *common, options.memory)
    same = worker("disk", folder, tenth, *common, 1)
    size = f"{rows * options.width * 4 / 1e9:.1f} GB"
    table.add(
        f"peak memory of the fit on {size} of features, GiB", whole["peak"] / 1024, "<= 2",
        whole["peak"] <= 2048, rows=rows, width=options.width, rounds=options.rounds,
        seconds=f"{whole['seconds']:.0f} s", in_memory_on_a_tenth=f"{memory['peak']:.0f} MiB",
    )  # fmt: skip
    ratio = whole["per_row_and_round"] / memory["per_row_and_round"]
    table.add(
        f"its time per row and round / in memory on a tenth ({size})", ratio, "<= 1.5", ratio <= 1.5,
        disk=f"{whole['per_row_and_round'] * 1e6:.2f} us",
        memory=f"{memory['per_row_and_round'] * 1e6:.2f} us",
    )  # fmt: skip
    points = 100 * abs(same["accuracy"] - memory["accuracy"])
    table.add(
        "points of accuracy between disk and memory, same rows", points, "<= 0.2", points <= 0.2,
        disk=f"{same['accuracy']:.4f}", memory=f"{memory['accuracy']:.4f}", rows=memory["rows"],
        held_out=HELD_OUT,
    )  # fmt: skip


def bench_images(table: Table, folder: Path, options: argparse.Namespace) -> None:
    """Measure extraction from streamed images against decoding alone and the trunk alone."""
    source, model = folder / "images", folder / "network.keras"
    make_images(source, options.images)
    worker("network", model)
    few = max(CHUNK, options.images // 5)
    decode = worker("decode", source, model, options.images)
    trunk = worker("trunk", source, model, few)
    stream = worker("stream", source, model, options.images)
    smaller = worker("stream", source, model, few)
    ratio = stream["rate"] / min(decode["rate"], trunk["rate"])
    table.add(
        "streaming extraction / the slower of decoding and trunk", ratio, ">= 0.9", ratio >= 0.9,
        images=options.images, stream=f"{stream['rate']:.0f}/s", decode=f"{decode['rate']:.0f}/s",
        trunk=f"{trunk['rate']:.0f}/s",
    )  # fmt: skip
    ratio = stream["peak"] / smaller["peak"]
    table.add(
        "peak memory of streaming, all images / a fifth", ratio, "<= 1.05", ratio <= 1.05,
        all=f"{stream['peak']:.0f} MiB", fifth=f"{smaller['peak']:.0f} MiB", images=options.images,
    )  # fmt: skip


def write_table(path: Path, table: Table) -> None:
    """Write the rows; those of other measurements that the file holds stay."""
    from cnnboost.files import read_json, write_json
    from cnnboost.stages.provenance import machine, versions

    measured = {row["what"] for row in table.rows}
    others = [row for row in (read_json(path) or {}).get("rows", []) if row["what"] not in measured]
    write_json(path, {"rows": [*table.rows, *others], "machine": machine(), "versions": versions()})


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20, help="of features; 0 leaves their rows out")
    parser.add_argument("--width", type=int, default=1024, help="columns of the features")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="1GiB", help="what BoostClassifier.fit is told")
    parser.add_argument("--images", type=int, default=50_000, help="JPEG files; 0 leaves their rows out")
    parser.add_argument("--folder", type=Path, help="where to put a few times as much; default: /tmp")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=options.folder) as name:
        folder = Path(name)
        os.environ["CNNBOOST_CACHE"] = str(folder / "cache")
        # Features, XGBoost's cache of half their size, and room for the rest.
        needed = options.gigabytes * 1.7e9 + options.images * 60_000
        if shutil.disk_usage(folder).free < needed:
            raise SystemExit(f"{folder.parent} has no room for {needed / 1e9:.0f} GB; name another --folder")
        if options.gigabytes:
            features = folder / "features"
            features.mkdir()
            bench_fit(table, features, options)
            shutil.rmtree(features)
        if options.images:
            bench_images(table, folder, options)
    if options.json:
        write_table(options.json, table)
    missed = [row["what"] for row in table.rows if not row["met"]]
    print(f"\n{len(table.rows) - len(missed)} of {len(table.rows)} goals met")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(work(*sys.argv[2:])))
    else:
        main()
