"""An exported bundle against the installable package `fer`: the same images, the same machine, one run.

Not a test. `fer` brings its own network, a mini-Xception for faces of 64x64 pixels, and its own
preprocessing; it is no dependency of ours, so it runs in an environment of its own whose interpreter
`--fer-python` names. Both sides judge the validation split of a recipe, PublicTest for FER-2013, and take
turns at being timed, on the same cores. An image is a whole face there, so `fer` gets it with the rectangle
of the whole image, and looks for no faces itself.

An environment for it: `pip install --no-deps fer==25.10.3 requests` and what they import:
opencv-python-headless, tensorflow, pillow, and a setuptools below 81 for its `pkg_resources`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("peers_fer.py")
SPLIT = "validation"
SINGLE = "-one-thread"
BATCHES = ("all", "one")
BUNDLE_FACTS = ("recipe", "title", "layer", "layers", "mode", "tta", "norm", "rounds", "input", "classes",
                "scores", "made_from")  # fmt: skip
#: What each class may be called by either side, beside the name that `fer` gives it.
OTHER_NAMES = {"anger": "angry", "disgusted": "disgust", "fearful": "fear", "happiness": "happy",
               "sadness": "sad", "surprised": "surprise"}  # fmt: skip
NOTES = (
    "Which images fer's network was trained and chosen on is its authors' affair; PublicTest may have served "
    "for its choice. Where it tuned the bundle's trees, the bundle's scores are cross-fitted: each "
    "fifth of the images is judged by the same graph with trees made of the rest. Its times are those of the "
    "bundle as it is.",
    "fer crops the face's rectangle, widened by `offsets` on each side, out of the image padded with the mean"
    " grey of its two lowest rows, resizes the crop to 64x64 (bilinear) and scales it to [-1, 1]. The "
    "rectangle is the whole image. With fer's default of 10 pixels, 48x48 images get a border; without any, "
    "they are resized as they are. Both are scored; ours is compared with the most accurate of all.",
    "fer's answers are rounded to hundredths; its scores are of the probabilities before that. "
    "`rounded_same` is the share of images for which the rounded answer names the same class.",
    "fer's TFLite network runs on one thread whatever the machine has, as the package sets it up; its Keras "
    "network runs on as many as ours. Turning grey images into what `cv2.imread` gives is not timed.",
    "Seconds to get ready: from the start of a fresh interpreter until its first image is judged, files in "
    "the system's cache.",
)


class Worker:
    """The other side's process: one JSON document a line in both directions."""

    def __init__(self, python: Path, images: Path, threads: int, errors: Path) -> None:
        self.errors = errors
        command = [str(python), str(WORKER), "serve", str(images), str(threads)]
        with errors.open("wb") as sink:
            try:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True,
                    env=worker_environment(threads),
                )  # fmt: skip
            except OSError as error:
                raise SystemExit(f"{python} cannot be started: {error.strerror or error}") from error
        self.metadata = self._answer()

    def ask(self, **document: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(document) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise SystemExit(f"the process that runs fer has ended:\n{last_lines(self.errors)}")
        return json.loads(line)


def last_lines(path: Path, count: int = 5) -> str:
    return "\n".join(path.read_text(errors="replace").strip().splitlines()[-count:])


def worker_environment(threads: int) -> dict[str, str]:
    # The other environment needs our clock, and for that this package, but none of what it depends on.
    there = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(ROOT), there] if there else [str(ROOT)])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}


def mapped(found: list[str], wanted: tuple[str, ...], whose: str) -> list[int]:
    """Return the place among the classes found of each of those wanted; names decide, not places."""

    def known(name: str) -> str:
        return OTHER_NAMES.get(name.lower(), name.lower())

    places = {known(name): i for i, name in enumerate(found)}
    missing = [name for name in wanted if known(name) not in places]
    if missing or len(found) != len(wanted):
        raise SystemExit(
            f"{whose} knows the classes {', '.join(found)}, and the images are of {', '.join(wanted)}"
        )
    return [places[known(name)] for name in wanted]


def said_by(
    job: Any, bundle: Any, split: Any, predictors: dict[str, Any]
) -> tuple[dict[str, np.ndarray], bool]:
    """Return what each graph says of the images, as they may be scored, and whether that was cross-fitted.

    A graph whose trees the images tuned would do better on them than on others: then each fifth of
    them is judged by the same graph with trees made of the rest.
    """
    from cnnboost.files import file_digest
    from cnnboost.stages.export import int8_proba
    from cnnboost.stages.hybrids import fit_hybrid
    from cnnboost.stages.predictions import predictions_of

    hybrid = fit_hybrid(job.needs(), mode=bundle.manifest["mode"], tta=bundle.manifest["tta"])
    for member, path in (("cnn.keras", hybrid.trained.path), ("head.ubj", hybrid.head.path)):
        if file_digest(path) != bundle.manifest["members"][member]["sha256"]:
            raise SystemExit(f"{path} is not the {member} of {bundle.folder}: export the bundle again")
    exact = predictions_of(job, hybrid, split)
    if not exact.cross_fitted:
        return {name: predictor.predict_proba(split.X) for name, predictor in predictors.items()}, False
    found = {"hybrid": exact.proba}
    if "int8" in predictors:
        content = bundle.members["int8.onnx"].read_bytes()
        found["int8"] = int8_proba(content, hybrid, exact, job.images.train, split.X)
    return {name: found[name.removesuffix(SINGLE)] for name in predictors}, True


def ready_ours(bundle: str, image: str, threads: str) -> None:
    """Get ready as a program would that uses the bundle, and judge one image."""
    from cnnboost.deploy.predictor import Predictor

    Predictor.load(bundle, threads=int(threads)).predict_proba(np.load(image))
    print("ready", flush=True)


def seconds_until_ready(command: list[str], threads: int, errors: Path) -> float:
    """Start a fresh process and wait for its first line."""
    started = time.perf_counter()
    with errors.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=sink, text=True, env=worker_environment(threads)
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        took = time.perf_counter() - started
        process.stdout.read()
        if process.wait() or not line:
            raise SystemExit(f"{command[0]} did not get ready:\n{last_lines(errors)}")
    return took


def measure(
    worker: Worker, predictors: dict[str, Any], X: np.ndarray, rounds: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Time every way of both sides, in turn; return a `Timing` of seconds an image for each and batch."""
    from cnnboost.timing.clock import MOST_CALLS, Block, Timing, rest, time_calls, turns

    names = [*predictors, *worker.metadata["ways"]]
    blocks: dict[str, dict[str, list[Block]]] = {name: {batch: [] for batch in BATCHES} for name in names}
    for batch in BATCHES:
        for name in turns(names, rounds):
            if name in predictors:
                run = predictors[name].predict_proba

                def call(i: int, run: Any = run, batch: str = batch) -> Any:
                    return run(X if batch == "all" else X[i % len(X) : i % len(X) + 1])

                found, images = time_calls(call, seconds).seconds, len(X) if batch == "all" else 1
                rest()
            else:
                done = worker.ask(do="time", way=name, batch=batch, seconds=seconds, most=MOST_CALLS)
                found, images = done["seconds"], done["images"]
            blocks[name][batch].append(Block([took / images for took in found], 0.0))
    return {name: {batch: Timing(tuple(found)) for batch, found in of.items()} for name, of in blocks.items()}


def times_of(timings: dict[str, Any]) -> dict[str, Any]:
    every, one = timings["all"], timings["one"]
    return {
        "images_per_second": round(1 / every.quantile(50), 1),
        "images_per_second_of_rounds": [round(1 / statistics.median(b.seconds), 1) for b in every.rounds],
        "ms_one_image": round(1e3 * one.quantile(50), 4),
        "ms_one_image_p95": round(1e3 * one.quantile(95), 4),
        "spread": {"all": round(every.spread, 3), "one": round(one.spread, 3)},
    }


def size_of(bundle: Any) -> dict[str, Any]:
    """Count what a bundle holds."""
    import onnx

    from cnnboost.cnn.model_file import read_model

    graph = onnx.load(bundle.members["hybrid.onnx"]).graph
    tree_nodes = sum(
        len(attribute.ints)
        for node in graph.node
        if node.op_type.startswith("TreeEnsemble")
        for attribute in node.attribute
        if attribute.name == "nodes_nodeids"
    )
    return {
        "parameters": sum(
            int(read_model(path).count_params())
            for path in bundle.members.values()
            if path.suffix == ".keras"
        ),
        "tree_nodes": tree_nodes,
        "bytes": {name: path.stat().st_size for name, path in sorted(bundle.members.items())},
    }


def goals_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Set what was measured beside what was to be reached, for each graph by itself."""
    most_accurate, fastest = document["most_accurate_peer"], document["fastest_peer"]
    # As the package sets its TFLite network up; see NOTES.
    ours, theirs = document["threads"], 1 if "tflite" in fastest else document["threads"]
    found = []
    for graph, compared in document["comparison"].items():
        points = 100 * compared["difference"]
        faster = document["ratios"][graph]["images_per_second"]
        alone = document["ratios"][graph]["images_per_second_one_thread"]
        calibration = document["ours"][graph]["scores"]["calibration_error"]["value"]
        found += [
            {
                "what": f"{graph}.onnx: accuracy, points above fer's most accurate way ({most_accurate})",
                "value": round(points, 2), "goal": ">= 4", "met": points >= 4,
            },
            {
                "what": f"{graph}.onnx on {_threads(ours)}: images per second / those of fer's fastest way "
                f"({fastest}, {_threads(theirs)})",
                "value": round(faster, 3), "goal": "> 1", "met": faster > 1,
            },
            {
                "what": f"{graph}.onnx on 1 thread: images per second / the same",
                "value": round(alone, 3), "goal": ">= 1", "met": alone >= 1,
            },
            {
                "what": f"{graph}.onnx: calibration error",
                "value": round(calibration, 4), "goal": "< 0.03", "met": calibration < 0.03,
            },
        ]  # fmt: skip
    return found


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def show(document: dict[str, Any]) -> None:
    print(
        f"{document['images']} images of {document['split']} ({document['recipe']}), {document['threads']} "
        f"threads, {document['machine']['model']}\n"
    )
    head = f"{'way':<22} {'accuracy':>8} {'interval':>15} {'macro F1':>8} {'log-loss':>8} {'ECE':>6}"
    print(f"{head} {'images/s':>9} {'ms, one':>8}")
    for side in ("ours", "peer"):
        for name, row in document[side].items():
            scores, times = row["scores"], row["times"]
            low, high = scores["accuracy"]["interval"]
            print(
                f"{name:<22} {scores['accuracy']['value']:>8.2%} {f'{low:.2%}-{high:.2%}':>15} "
                f"{scores['macro_f1']['value']:>8.4f} {scores['log_loss']['value']:>8.4f} "
                f"{scores['calibration_error']['value']:>6.4f} {times['images_per_second']:>9.0f} "
                f"{times['ms_one_image']:>8.3f}"
            )
    print()
    for name in ("ours", "peer"):
        size, ready = document["size"][name], document["seconds_until_ready"][name]
        files = ", ".join(f"{file} {count / 1e6:.2f} MB" for file, count in size["bytes"].items())
        trees = f" and {size['tree_nodes']:,} tree nodes" if "tree_nodes" in size else ""
        print(f"{name}: ready in {ready['median']:.2f} s; {size['parameters']:,} parameters{trees}; {files}")
    for ways in document["ways"].values():
        for name, what in ways.items():
            print(f"  {name}: {what}")
    print()
    for compared in document["comparison"].values():
        print(compared["verdict"])
    print()
    for row in document["goals"]:
        print(
            f"{row['what']:<107} {row['value']:>9.3f}  {row['goal']:<7} {'met' if row['met'] else 'NOT MET'}"
        )
    print()
    for note in document["notes"]:
        print(f"- {note}")


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure everything; return the document."""
    from cnnboost.config import load_recipe
    from cnnboost.deploy.bundle import read_bundle
    from cnnboost.deploy.predictor import Predictor
    from cnnboost.metrics.comparison import compare
    from cnnboost.metrics.scores import score
    from cnnboost.stages import Job
    from cnnboost.stages.provenance import machine, versions
    from cnnboost.timing.clock import ratio

    threads = arguments.threads
    bundle = read_bundle(arguments.bundle)
    graphs = [graph for graph in ("hybrid", "int8") if f"{graph}.onnx" in bundle.members]
    predictors = {
        graph + ending: Predictor.load(bundle, threads=count, graph=graph)
        for graph in graphs
        for ending, count in (("", threads), (SINGLE, 1))
    }
    # The network and the trees of the bundle are taken from its folder.
    job = Job(recipe=load_recipe(arguments.recipe), data=arguments.data, models=arguments.bundle.parent)
    scored = job.images[SPLIT]
    X = np.ascontiguousarray(scored.X)
    if X.shape[-1] != 1:
        raise SystemExit(
            f"images of {X.shape[-1]} channels: fer sees grey ones; take a recipe with channels=1"
        )
    classes = tuple(str(name) for name in predictors["hybrid"].classes_)
    order = mapped(list(classes), scored.classes, "the bundle")
    images, first = folder / "images.npy", folder / "first.npy"
    np.save(images, X)
    np.save(first, X[:1])
    worker = Worker(arguments.fer_python, images, threads, folder / "errors.txt")
    theirs = mapped(worker.metadata["classes"], scored.classes, "fer")

    def scores(proba: np.ndarray) -> dict[str, Any]:
        return score(scored.y, proba, scored.classes).to_dict()

    said, cross_fitted = said_by(job, bundle, scored, predictors)
    ours_proba = {name: proba[:, order] for name, proba in said.items()}
    peer: dict[str, Any] = {}
    probabilities = {}
    for name in worker.metadata["ways"]:
        to = folder / f"{name}.npy"
        answer = worker.ask(do="judge", way=name, to=str(to))
        probabilities[name] = np.load(to)[:, theirs]
        peer[name] = {"scores": scores(probabilities[name]), **answer}
    timings = measure(worker, predictors, X, arguments.rounds, arguments.seconds)
    worker.close()
    for name, row in peer.items():
        row["times"] = times_of(timings[name])
    ours = {
        name: {"scores": scores(proba), "times": times_of(timings[name])}
        for name, proba in ours_proba.items()
    }
    starts: dict[str, list[float]] = {"ours": [], "peer": []}
    commands = {
        "ours": [sys.executable, __file__, "--ready", str(arguments.bundle), str(first), str(threads)],
        "peer": [str(arguments.fer_python), str(WORKER), "start", str(first), str(threads)],
    }
    for number in range(arguments.rounds + 1):
        for side, command in commands.items():
            took = seconds_until_ready(command, threads, folder / "errors.txt")
            if number:  # the first one reads the files from the disk
                starts[side].append(took)
    best = max(peer, key=lambda name: peer[name]["scores"]["accuracy"]["value"])
    fastest = max(peer, key=lambda name: peer[name]["times"]["images_per_second"])
    quickest = min(peer, key=lambda name: peer[name]["times"]["ms_one_image"])
    ready = {
        side: {"median": round(statistics.median(took), 3), "rounds": [round(t, 3) for t in took]}
        for side, took in starts.items()
    }
    document = {
        "format": 1,
        "recipe": arguments.recipe,
        "split": scored.name,
        "images": len(X),
        "threads": threads,
        "rounds": arguments.rounds,
        "bundle": {key: value for key, value in bundle.manifest.items() if key in BUNDLE_FACTS},
        "ways": {
            "ours": {
                name: f"Predictor on {name.removesuffix(SINGLE)}.onnx, {_threads(predictor.threads)}"
                for name, predictor in predictors.items()
            },
            "peer": worker.metadata["ways"],
        },
        "cross_fitted": cross_fitted,
        "ours": ours,
        "peer": peer,
        "most_accurate_peer": best,
        "fastest_peer": fastest,
        "quickest_peer_for_one_image": quickest,
        "comparison": {
            graph: compare(
                scored.y, probabilities[best], ours_proba[graph], names=(f"fer ({best})", f"{graph}.onnx")
            ).to_dict()
            for graph in graphs
        },
        "ratios": {
            graph: {
                "images_per_second": ratio(timings[fastest]["all"], timings[graph]["all"]),
                "images_per_second_one_thread": ratio(
                    timings[fastest]["all"], timings[graph + SINGLE]["all"]
                ),
                "ms_one_image": ratio(timings[quickest]["one"], timings[graph]["one"]),
            }
            for graph in graphs
        }
        | {"seconds_until_ready": ready["peer"]["median"] / ready["ours"]["median"]},
        "seconds_until_ready": ready,
        "size": {
            "ours": size_of(bundle),
            "peer": {key: worker.metadata[key] for key in ("parameters", "input", "bytes")},
        },
        "notes": list(NOTES),
        "machine": machine(),
        "versions": {"ours": versions(), "peer": worker.metadata["versions"]},
    }
    return document | {"goals": goals_of(document)}


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="a folder that 'cnnboost export' wrote")
    parser.add_argument("--fer-python", type=Path, required=True, help="a Python that has fer installed")
    parser.add_argument("--recipe", default="fer2013", help="says how the images are read and split")
    parser.add_argument("--data", required=True, help="the images of the recipe")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= arguments.threads <= len(cores):
        parser.error(f"--threads {arguments.threads}: this process may use {len(cores)} cores")
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: at least 1")
    # Both sides, and all processes that they start, have as many cores as threads.
    os.sched_setaffinity(0, cores[: arguments.threads])

    from cnnboost.errors import CnnboostError
    from cnnboost.files import write_json

    with tempfile.TemporaryDirectory() as name:
        try:
            document = run(arguments, Path(name))
        except CnnboostError as error:
            raise SystemExit(str(error)) from error
    show(document)
    if arguments.json:
        write_json(arguments.json, document)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ready"]:
        ready_ours(*sys.argv[2:])
    else:
        main()
