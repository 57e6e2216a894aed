"""hybrid -> latency: every path from image to probabilities, timed side by side in one run."""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnnboost.cnn import CNNClassifier
from cnnboost.cnn.model_file import read_model
from cnnboost.deploy.bundle import Bundle, graph_name, member_name
from cnnboost.errors import DataError, ParameterError
from cnnboost.features.cut import Cut
from cnnboost.files import write_bytes, write_json
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.images import Split
from cnnboost.images.views import TTA
from cnnboost.report.plots import plot_latency, save_figure
from cnnboost.stages.export import export
from cnnboost.stages.extraction import extract
from cnnboost.stages.job import Job
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.provenance import machine, versions
from cnnboost.timing import latency_table, limits
from cnnboost.timing.clock import BackgroundLoad, Timing
from cnnboost.timing.paths import PATHS, PRODUCTS, Source, check_batches
from cnnboost.timing.worker import WorkerPool, time_starts

log = logging.getLogger("cnnboost")

FORMAT = 1
STARTS = 3
_STARTED_PATHS = ("hybrid/predict", "hybrid/onnx")


def bench(
    job: Job,
    layers: str | Sequence[str] | None = None,
    *,
    mode: str | None = None,
    tta: str | None = None,
    split: str | None = None,
    batches: Sequence[int | str] | None = None,
    repeats: int | None = None,
    threads: int | None = None,
) -> Outcome:
    """Measure the latency of every path on a bundle, which is brought up to date first.

    A path is warmed up, then called repeatedly with the garbage collector off. Each path has a process of its
    own, and the processes take turns, round by round; see `cnnboost.timing.worker`.
    """
    config = job.recipe.bench
    repeats = _positive("repeats", config.repeats if repeats is None else repeats)
    threads = config.threads if threads is None else _positive("threads", threads)
    asked = check_batches(config.batches if batches is None else batches)
    scored = job.images[split or job.scored_split]
    sizes = _sizes(asked, scored, stated=batches is not None)
    int8 = (job.bundle_dir / graph_name("int8")).is_file() or None  # a bundle keeps its int8 graph
    bundle = export(job, layers, mode=mode, tta=tta, int8=int8).bundle
    manifest = bundle.manifest
    if manifest["networks"] > 1 and "heads" not in manifest:
        raise ParameterError(
            f"{bundle.folder} is a hybrid of {manifest['networks']} networks with one head, and only hybrids "
            "of one network, or with a head for each, can be timed; --set hybrid.networks=1 makes one"
        )
    features = _head_features(job, bundle, scored)
    starts = min(STARTS, repeats)
    with tempfile.TemporaryDirectory() as name, job.progress("time", "turn") as report:
        folder = Path(name)
        total = len(sizes) * len(PATHS) + len({sizes[0], sizes[-1]}) * len(PRODUCTS)
        total = total * repeats + (len(_STARTED_PATHS) + 2) * starts
        turn = itertools.count()

        def done() -> None:
            report(next(turn), total)

        done()
        source = _source(bundle, folder, scored, features, threads)
        background = BackgroundLoad()
        with WorkerPool(PATHS, source) as pool:
            timings, products = _take_turns(pool, sizes, repeats, config.seconds, done)
            probabilities = _probabilities(pool, folder)
            used: dict[str, int] = {}
            for worker in pool.workers.values():
                used |= worker.ask(do="threads")
        programs = _programs(bundle, folder, scored)
        cold = time_starts(_STARTED_PATHS, programs, source, rounds=starts, done=done)
        others = background.cores()
    if others is not None and others > BackgroundLoad.WORTH_A_WARNING:
        log.warning(
            "other programs kept %.1f cores busy meanwhile: these times are too high; measure again when "
            "nothing else runs",
            others,
        )
    rates = limits.product_rates(products)
    operations = _operations(bundle, scored)
    rows = latency_table.latency_rows(timings, probabilities, scored.y, operations, max(rates.values()))
    document = {
        "format": FORMAT,
        "recipe": job.recipe.name,
        "title": job.recipe.title,
        **{key: manifest[key] for key in ("layer", "mode", "tta", "rounds")},
        "split": scored.name,
        "images": len(scored),
        "shape": list(scored.shape[1:]),
        "repeats": repeats,
        "seconds": config.seconds,
        "threads": {"asked": threads, "used": used},
        "goals": latency_table.goal_rows(timings, rows, cold),
        "goals_stated_for": latency_table.GOALS_STATED_FOR,
        "rows": rows,
        "starts": [
            {
                "what": name,
                "until": "first prediction" if name in _STARTED_PATHS else "exit",
                "runs": len(timing.seconds),
                "p50_s": timing.quantile(50),
                "lowest_s": min(timing.seconds),
                "highest_s": max(timing.seconds),
            }
            for name, timing in cold.items()
        ],
        "operations": {
            name: {"mflop_per_image": counted.flop / 1e6, "uncounted": list(counted.uncounted)}
            for name, counted in operations.items()
        },
        "product": {
            "size": limits.PRODUCT_SIZE,
            "gflop_per_s": {name: rate / 1e9 for name, rate in rates.items()},
            "limit_gflop_per_s": max(rates.values()) / 1e9,
        },
        "machine": machine(),
        "cores_busy_for_others": others,
        "versions": versions(),
    }
    figure = plot_latency(rows, title=job.recipe.title or job.recipe.name)
    figure_path = save_figure(figure, job.reports_dir / "figures" / "latency.png")
    table = write_bytes(job.reports_dir / "latency.csv", latency_table.as_csv(rows).encode())
    return Outcome(document, write_json(job.reports_dir / "latency.json", document), [table, figure_path])


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ParameterError(f"{name}={value}: give a whole number from 1")
    return value


def _sizes(batches: Sequence[int | str], split: Split, *, stated: bool) -> list[int]:
    """Return batch sizes in numbers, each once, in ascending order; of the recipe's, those that fit."""
    sizes = sorted({len(split) if size == "all" else int(size) for size in batches})
    large = [size for size in sizes if size > len(split)]
    if large and stated:
        raise DataError(
            f"a batch of {large[-1]:,} images cannot be timed on the {len(split):,} images of "
            f"{split.name!r}; give smaller ones (--batch N, repeatable, or --batch all)"
        )
    if large:
        left_out = ", ".join(map(str, large))
        log.info("left out: batches of %s, %s has %d images", left_out, split.name, len(split))
    return [size for size in sizes if size not in large] or [len(split)]


def _take_turns(
    pool: WorkerPool, sizes: Sequence[int], repeats: int, seconds: float, done: Callable[[], None]
) -> tuple[dict[int, dict[str, Timing]], dict[str, Timing]]:
    timings: dict[int, dict[str, Timing]] = {}
    products: dict[str, Timing] = {}
    for n in sizes:
        turns = dict.fromkeys(PATHS, n)
        if n in (sizes[0], sizes[-1]):
            # The limit is measured in the same rounds, at both ends of the run.
            turns |= dict.fromkeys(PRODUCTS, limits.PRODUCT_SIZE)
        log.info("batches of %d", n)
        timings[n] = pool.time(turns, rounds=repeats, seconds=seconds, done=done)
        for path in PRODUCTS.keys() & turns.keys():
            before = products[path].rounds if path in products else ()
            products[path] = Timing((*before, *timings[n].pop(path).rounds))
    return timings, {path: products[path] for path in PRODUCTS}


def _probabilities(pool: WorkerPool, folder: Path) -> dict[str, np.ndarray]:
    """Let every path predict all images once."""
    probabilities = {}
    for i, path in enumerate(PATHS):
        out = folder / f"{i}.npy"
        pool.workers[path].ask(do="predict", out=str(out))
        probabilities[path] = np.load(out, allow_pickle=False)
    return probabilities


def _programs(bundle: Bundle, folder: Path, split: Split) -> dict[str, list[str]]:
    from PIL import Image

    image = folder / "image.png"
    Image.fromarray(np.squeeze(split.X[0])).save(image)
    predict = ["-m", "cnnboost", "predict", str(image), "--model", str(bundle.folder.resolve())]
    return {
        latency_table.PROGRAM: [sys.executable, *predict],
        latency_table.TENSORFLOW: [sys.executable, "-c", "import tensorflow"],
    }


def _head_features(job: Job, bundle: Bundle, split: Split) -> np.ndarray:
    """Return the input of a head: features, in other modes than `plain` followed by log-probabilities."""
    manifest = bundle.manifest
    if manifest["mode"] == "plain":
        extracted = extract(job.needs(), [manifest["layer"]], [split.name])[split.name]
        return np.asarray(extracted.stored[manifest["layer"]].X)
    parts: list[np.ndarray] = []
    for number in range(1, manifest["networks"] + 1):
        cnn = CNNClassifier.load(
            bundle.members[f"{member_name('cnn', number)}.keras"], pixels=manifest["pixels"]
        )
        found = FeatureExtractor([cnn], manifest["layers"], manifest["norm"]).all(split.X)
        parts += map(np.asarray, found)
    return np.concatenate(parts, axis=1)


def _source(bundle: Bundle, folder: Path, split: Split, features: np.ndarray, threads: int | None) -> Source:
    """Write images and features to a folder that every process reads."""
    np.save(folder / "images.npy", split.X, allow_pickle=False)
    np.save(folder / "features.npy", features, allow_pickle=False)
    manifest = bundle.manifest
    members = {name: str(path.resolve()) for name, path in bundle.members.items()}
    # Each network with its head, and what was chosen of this; one network may be the only one.
    first, *others = [
        {
            "cnn": members[f"{member_name('cnn', number)}.keras"],
            "head": members[f"{member_name('head', number)}.ubj"],
            **{key: head[key] for key in ("temperature", "weight") if key in head},
        }
        for number, head in enumerate(manifest.get("heads", [manifest]), 1)
    ]
    return Source(
        **first,
        others=others,
        cnn_onnx=members[graph_name("cnn")],
        hybrid_onnx=members[graph_name("hybrid")],
        images=str(folder / "images.npy"),
        features=str(folder / "features.npy"),
        threads=threads,
        **{key: manifest[key] for key in ("layer", "pixels", "mode", "tta")},
        **{key: manifest[key] for key in ("layers", "norm") if key in manifest},
    )


def _operations(bundle: Bundle, split: Split) -> dict[str, limits.Operations]:
    """Count the arithmetic of one image, by family of paths."""
    manifest = bundle.manifest
    cnn = read_model(bundle.members["cnn.keras"])
    height, width, channels = split.shape[1:]
    # Other modes than `plain` need the whole network.
    trunk = Cut(cnn).trunk([manifest["layer"]]) if manifest["mode"] == "plain" else cnn
    counted = {
        name: limits.count_operations(model, (height, width, channels), TTA[manifest["tta"]])
        for name, model in (("cnn", cnn), ("hybrid", trunk))
    }
    # The networks of a bagged hybrid are of one architecture.
    one = counted["hybrid"]
    return {**counted, "hybrid": replace(one, flop=one.flop * manifest["networks"])}
