"""What else could run a hybrid faster: graph options, thread settings, int8, OpenVINO; all on one bundle.

Not a test: `make bench-runtimes` runs it on an exported bundle and prints one row for each way, with its
accuracy and its agreement with the exported graph beside its speed. All ways are measured in turn, round by
round, so that drift of the machine hits all alike; times are medians. OpenVINO and NNCF are not dependencies:
their rows say so where they are not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from cnnboost.timing.clock import rest

BATCHES = (1, 8, 64)
CALIBRATION = 300
FEATURES = "features"

Run = Callable[[np.ndarray], np.ndarray]


def session(model: Any, threads: int, **entries: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for name, value in entries.items():
        options.add_session_config_entry(name.replace("__", "."), value)
    content = model if isinstance(model, (bytes, str)) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def whole(model: Any, threads: int, **entries: str) -> Run:
    made = session(model, threads, **entries)
    return lambda X: made.run(["probabilities"], {"image": X})[0]


def parts(path: Path) -> tuple[Any, Any, str]:
    """Cut an exported graph into trunk and trees again."""
    import onnx
    from onnx.utils import Extractor

    model = onnx.load(path)
    trees = next(node for node in model.graph.node if node.op_type.startswith("TreeEnsemble"))
    cut = trees.input[0]
    extractor = Extractor(onnx.shape_inference.infer_shapes(model))
    return (
        extractor.extract_model(["image"], [cut]),
        extractor.extract_model([cut], ["label", "probabilities"]),
        cut,
    )


def unsimplified(bundle: Any) -> bytes:
    """Export the hybrid of a bundle as the exporters give it."""
    from cnnboost import BoostClassifier
    from cnnboost.cnn.model_file import read_model
    from cnnboost.deploy import graph
    from cnnboost.features.cut import Cut

    metadata = bundle.manifest
    head = BoostClassifier.load(bundle.members["head.ubj"])
    trunk = Cut(read_model(bundle.members["cnn.keras"])).trunk([metadata["layer"]])
    shape = tuple(metadata["input"][name] for name in ("height", "width", "channels"))
    simplify, graph.simplify = graph.simplify, lambda model, images: None
    try:
        model = graph.trunk_graph(
            trunk, head.booster_, pixels=metadata["pixels"], shape=shape, n_classes=len(metadata["classes"])
        )
    finally:
        graph.simplify = simplify
    return model.SerializeToString()


def openvino_ways(trunk: Path, trees: Run, calibration: np.ndarray, threads: int) -> dict[str, Run]:
    """Run the trunk in OpenVINO, as float32 and as int8, and the trees in ONNX Runtime."""
    import nncf
    import openvino

    core = openvino.Core()
    model = core.read_model(trunk)
    int8 = nncf.quantize(
        model, nncf.Dataset([image[None] for image in calibration]), subset_size=len(calibration)
    )

    def way(made: Any) -> Run:
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = core.compile_model(made, "CPU", options).create_infer_request()
        return lambda X: trees(request.infer({0: X})[0])

    return {"OpenVINO float, trees in ONNX Runtime": way(model), "OpenVINO int8 (NNCF), same": way(int8)}


def measure(ways: dict[str, Run], X: np.ndarray, seconds: float) -> dict[str, dict[str, float]]:
    """Time every way at every batch size, in turn; milliseconds, medians."""
    found: dict[str, dict[str, float]] = {name: {} for name in ways}
    for batch in (*BATCHES, len(X)):
        times: dict[str, list[float]] = {name: [] for name in ways}
        step = min(batch, 64)

        def call(run: Run, batch: int = batch, step: int = step) -> float:
            started = time.perf_counter()
            for start in range(0, batch, step):
                run(X[start : start + step])
            return time.perf_counter() - started

        for run in ways.values():
            call(run)
            call(run)
        until = time.perf_counter() + seconds * len(ways)
        while time.perf_counter() < until or len(times[next(iter(ways))]) < 5:
            for name, run in ways.items():
                # The pool of the way before may still spin; the first calls find its caches.
                rest()
                for _ in range(3 if batch <= 64 else 1):
                    call(run)
                times[name] += [call(run) for _ in range({1: 200, 8: 60, 64: 10}.get(batch, 2))]
        for name, took in times.items():
            found[name]["all" if batch == len(X) else str(batch)] = round(1e3 * statistics.median(took), 4)
    return found


def extra_versions() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for package in ("openvino", "nncf"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="a folder that 'cnnboost export' wrote")
    parser.add_argument("--recipe", default="oslo")
    parser.add_argument("--data", required=True, help="the images of the recipe")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=2.0, help="for each way and batch size")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()

    from cnnboost.config import load_recipe
    from cnnboost.deploy.bundle import read_bundle
    from cnnboost.deploy.graph_file import serialise
    from cnnboost.deploy.int8 import int8_graph
    from cnnboost.deploy.predictor import Predictor
    from cnnboost.files import write_json
    from cnnboost.stages import Job
    from cnnboost.stages.provenance import machine, versions

    bundle = read_bundle(arguments.bundle)
    if (bundle.manifest["mode"], bundle.manifest["tta"]) != ("plain", "none"):
        raise SystemExit(
            f"{bundle.folder}: its graph is cut behind the trunk, which takes a plain one without views"
        )
    job = Job(recipe=load_recipe(arguments.recipe), data=arguments.data)
    scored = job.images[job.scored_split]
    X, y = np.ascontiguousarray(scored.X), scored.y
    chosen = np.linspace(0, len(job.images.train) - 1, CALIBRATION).astype(int)
    calibration = np.ascontiguousarray(job.images.train.X[chosen])
    graph = bundle.members["hybrid.onnx"]
    threads = arguments.threads
    predictor = Predictor.load(graph, threads=threads)
    ways: dict[str, Run] = {
        "exported graph, Predictor": predictor.predict_proba,
        "same, ONNX Runtime's own options": whole(str(graph), threads),
        "same, threads that never spin": whole(str(graph), threads, session__intra_op__allow_spinning="0"),
        "same, one thread": whole(str(graph), 1),
        "graph as the exporters give it": whole(unsimplified(bundle), threads),
    }
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import onnx
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        options.log_severity_level = 3
        started = time.perf_counter()
        onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        plain_load = time.perf_counter() - started
        onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        started = time.perf_counter()
        ways["graph optimised beforehand, from disk"] = whole(str(folder / "optimised.onnx"), threads)
        notes["graph optimised beforehand, from disk"] = (
            f"loads in {1e3 * (time.perf_counter() - started):.1f} ms, the exported one in "
            f"{1e3 * plain_load:.1f} ms; holds for this processor only"
        )
        trunk, trees, cut = parts(graph)
        trees_session = session(trees, threads)

        def after(features: np.ndarray) -> np.ndarray:
            return trees_session.run(["probabilities"], {cut: features})[0]

        onnx.save(trunk, folder / "trunk.onnx")
        integers = int8_graph(onnx.load(graph), calibration)
        del integers.metadata_props[:]  # metadata and checksum of the exact graph
        content = serialise(integers, predictor.details | {"int8": True})
        name = "in int8, as 'export --int8' makes it, Predictor"
        ways[name] = Predictor(content, threads=threads).predict_proba
        try:
            ways |= openvino_ways(folder / "trunk.onnx", after, calibration, threads)
        except ImportError as error:
            notes["OpenVINO"] = f"not measured: {error}"
        reference = predictor.predict_proba(X)
        times = measure(ways, X, arguments.seconds)
        rows = []
        first = times[next(iter(ways))]
        for name, run in ways.items():
            found = np.concatenate([run(X[start : start + 64]) for start in range(0, len(X), 64)])
            row = {
                "way": name,
                "ms": times[name],
                "speed": {batch: round(first[batch] / times[name][batch], 3) for batch in first},
                "accuracy": round(float((found.argmax(axis=1) == y).mean()), 4),
                "agreement": round(float((found.argmax(axis=1) == reference.argmax(axis=1)).mean()), 4),
                "note": notes.pop(name, ""),
            }
            rows.append(row)
            shown = " ".join(
                f"{batch}: {row['ms'][batch]:.3f} ({row['speed'][batch]:.2f}x)" for batch in first
            )
            print(
                f"{name:<42} {shown}  {row['accuracy']:.2%} {row['agreement']:.2%} {row['note']}", flush=True
            )
    for name, note in notes.items():
        print(f"{name}: {note}")
    if arguments.json:
        document = {
            "layer": bundle.manifest["layer"], "rounds": bundle.manifest["rounds"], "split": scored.name,
            "images": len(X), "calibration_images": CALIBRATION, "threads": threads, "rows": rows,
            "notes": notes, "machine": machine(), "versions": versions() | extra_versions(),
        }  # fmt: skip
        write_json(arguments.json, document)


if __name__ == "__main__":
    main()
