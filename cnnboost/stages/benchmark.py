"""hybrid -> latency: every path from image to probabilities, timed side by side in one run."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.deploy.bundle import Bundle
from cnnboost.errors import DataError, ParameterError
from cnnboost.files import write_bytes, write_json
from cnnboost.images import Split
from cnnboost.report.drawing import save_figure
from cnnboost.report.plots import plot_latency
from cnnboost.stages.bench_source import features_of, operations_of, source_of
from cnnboost.stages.export import export
from cnnboost.stages.job import Job
from cnnboost.stages.provenance import machine, versions
from cnnboost.timing import goals, limits, paths, start
from cnnboost.timing import latency_table as rows
from cnnboost.timing.background_load import WORTH_A_WARNING, BackgroundLoad
from cnnboost.timing.clock import Timing
from cnnboost.timing.worker_pool import WorkerPool

log = logging.getLogger("cnnboost")

FORMAT = 1
STARTS = 3


@dataclass(frozen=True)
class Benched:
    """Latencies and where they were written."""

    document: dict[str, Any]
    path: Path
    table: Path
    figure: Path


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
) -> Benched:
    """Measure the latency of every path; bring the bundle that is measured up to date first.

    A path is warmed up, then called again and again with the clock on and the garbage collector off. Each
    path has a process of its own, and the processes take turns, round by round; see
    `cnnboost.timing.worker_pool`.
    """
    metadata = job.recipe.bench
    repeats = _positive("repeats", metadata.repeats if repeats is None else repeats)
    threads = metadata.threads if threads is None else _positive("threads", threads)
    asked = check_batches(metadata.batches if batches is None else batches)
    scored = job.images[split or job.scored_split]
    sizes = _sizes(asked if batches is not None else _that_fit(asked, scored), scored)
    int8 = (job.bundle_dir / "int8.onnx").is_file() or None  # not taken away by timing the others
    bundle = export(job, layers, mode=mode, tta=tta, int8=int8).bundle
    if bundle.manifest["networks"] > 1:
        raise ParameterError(
            f"{bundle.folder} is a hybrid of {bundle.manifest['networks']} networks, and latency is measured "
            "of hybrids of one; --set hybrid.networks=1 makes one"
        )
    features = features_of(job, bundle, scored)
    turns_of_all = len(sizes) * len(paths.PATHS) + len({sizes[0], sizes[-1]}) * len(paths.PRODUCTS)
    starts_of_each = min(STARTS, repeats)
    with (
        tempfile.TemporaryDirectory() as folder,
        job.progress("time", "turn") as report,
    ):
        done = _Count(report, turns_of_all * repeats + 4 * starts_of_each)
        source = source_of(bundle, Path(folder), scored, features, threads)
        neighbours = BackgroundLoad()
        with WorkerPool(paths.PATHS, source) as crew:
            timings, products = _take_turns(crew, sizes, repeats, metadata.seconds, done)
            probabilities = _probabilities(crew, Path(folder))
            used: dict[str, int] = {}
            for worker in crew.workers.values():
                used |= worker.ask(do="threads")
        starts = _starts(bundle, Path(folder), scored, source)
        cold = start.time_starts(starts, rounds=starts_of_each, threads=threads, done=done)
        others = neighbours.cores()
    if others is not None and others > WORTH_A_WARNING:
        log.warning(
            "other programs kept %.1f cores busy meanwhile: these times are too high; measure again when "
            "nothing else runs",
            others,
        )
    rates = limits.product_rates({path: products[path] for path in paths.PRODUCTS})
    operations = operations_of(bundle, scored)
    measured = rows.latency_rows(timings, probabilities, scored.y, operations, max(rates.values()))
    document = {
        "format": FORMAT,
        "recipe": job.recipe.name,
        "title": job.recipe.title,
        "layer": bundle.manifest["layer"],
        "mode": bundle.manifest["mode"],
        "tta": bundle.manifest["tta"],
        "rounds": bundle.manifest["rounds"],
        "split": scored.name,
        "images": len(scored),
        "shape": list(scored.shape[1:]),
        "repeats": repeats,
        "seconds": metadata.seconds,
        "threads": {"asked": threads, "used": used},
        "goals": goals.goal_rows(timings, _share(measured, len(scored)), cold, everything=len(scored)),
        "goals_stated_for": goals.STATED_FOR,
        "rows": measured,
        "starts": [
            {
                "what": name,
                "until": starts[name].until,
                "runs": timing.calls,
                "p50_s": timing.quantile(50),
                "lowest_s": min(timing.seconds),
                "highest_s": max(timing.seconds),
            }
            for name, timing in cold.items()
        ],
        "operations": {
            name: {"mflop_per_image": found.flop / 1e6, "uncounted": list(found.uncounted)}
            for name, found in operations.items()
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
    return _write(job, document)


def check_batches(batches: Sequence[int | str]) -> list[int | str]:
    """Refuse impossible batch sizes."""
    found: list[int | str] = []
    for batch in batches:
        text = str(batch).strip()
        if text != "all" and not (text.isascii() and text.isdigit() and int(text) > 0):
            raise ParameterError(f"batch {text!r}: give a number of images from 1, or 'all'")
        found.append("all" if text == "all" else int(text))
    if not found:
        raise ParameterError("name at least one batch size: a number of images, or 'all'")
    return found


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ParameterError(f"{name}={value}: give a whole number from 1")
    return value


def _that_fit(batches: Sequence[int | str], split: Split) -> list[int | str]:
    """Leave out what the recipe names and the split is too small for: nobody asked for it just now."""
    fit = [size for size in batches if size == "all" or int(size) <= len(split)]
    left_out = [str(size) for size in batches if size not in fit]
    if left_out:
        log.info("left out: batches of %s, %s has %d images", ", ".join(left_out), split.name, len(split))
    return fit or ["all"]


def _sizes(batches: Sequence[int | str], split: Split) -> list[int]:
    """Return the batch sizes in numbers, each once, in ascending order."""
    largest = max((size for size in batches if isinstance(size, int)), default=0)
    if largest > len(split):
        raise DataError(
            f"a batch of {largest:,} images cannot be timed on the {len(split):,} images of "
            f"{split.name!r}; give smaller ones (--batch N, repeatable, or --batch all)"
        )
    return sorted({len(split) if size == "all" else int(size) for size in batches})


class _Count:
    """Reports how many turns are over."""

    def __init__(self, report: Callable[[int, int], None], total: int) -> None:
        self._report, self._done, self._total = report, 0, total
        report(0, total)

    def __call__(self) -> None:
        self._done += 1
        self._report(self._done, self._total)


def _take_turns(
    crew: WorkerPool, sizes: Sequence[int], repeats: int, seconds: float, done: Callable[[], None]
) -> tuple[dict[int, dict[str, Timing]], dict[str, Timing]]:
    timings: dict[int, dict[str, Timing]] = {}
    products: dict[str, Timing] = {}
    for n in sizes:
        turns = dict.fromkeys(paths.PATHS, n)
        if n in (sizes[0], sizes[-1]):
            # The limit is looked for in the same rounds, at both ends of the run.
            turns |= dict.fromkeys(paths.PRODUCTS, limits.PRODUCT_SIZE)
        log.info("batches of %d", n)
        found = crew.time(turns, rounds=repeats, seconds=seconds, done=done)
        for path in paths.PRODUCTS.keys() & found.keys():
            products[path] = Timing((*products.get(path, Timing(())).rounds, *found.pop(path).rounds))
        timings[n] = found
    return timings, products


def _probabilities(crew: WorkerPool, folder: Path) -> dict[str, np.ndarray]:
    """Let every path predict all images once."""
    found = {}
    for i, path in enumerate(paths.PATHS):
        out = folder / f"{i}.npy"
        crew.workers[path].ask(do="predict", out=str(out))
        found[path] = np.load(out, allow_pickle=False)
    return found


def _starts(bundle: Bundle, folder: Path, split: Split, source: paths.Source) -> dict[str, start.Start]:
    from PIL import Image

    image = folder / "image.png"
    Image.fromarray(np.squeeze(split.X[0])).save(image)
    predict = ["-m", "cnnboost", "predict", str(image), "--model", str(bundle.folder.resolve())]
    return {
        "hybrid/predict": start.first_prediction("hybrid/predict", source),
        "hybrid/onnx": start.first_prediction("hybrid/onnx", source),
        goals.PROGRAM: start.Start([sys.executable, *predict], "exit"),
        goals.TENSORFLOW: start.Start([sys.executable, "-c", "import tensorflow"], "exit"),
    }


def _share(measured: Sequence[Mapping[str, Any]], n: int) -> float:
    found = [r for r in measured if r["path"] == goals.OURS and r["batch"] == n]
    return float(found[0]["share_of_product_rate"]) if found else 0.0


def _write(job: Job, document: dict[str, Any]) -> Benched:
    """Write the figure and the table, and the document last."""
    drawn = plot_latency(document["rows"], title=document["title"] or document["recipe"])
    figure = save_figure(drawn, job.reports_dir / "figures" / "latency.png")
    table = write_bytes(job.reports_dir / "latency.csv", rows.as_csv(document["rows"]).encode())
    path = write_json(job.reports_dir / "latency.json", document)
    return Benched(document, path, table, figure)
