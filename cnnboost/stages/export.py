"""hybrid -> bundle: the files that run it elsewhere, written once the graphs are shown to agree."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.cnn.model_file import write_model
from cnnboost.config import BUNDLE_TABLES
from cnnboost.deploy.bundle import Bundle, finish, is_bundle, read_bundle, write_bundle
from cnnboost.deploy.graph import cnn_graph, hybrid_graph, serialise, trunk_graph
from cnnboost.deploy.int8 import int8_graph
from cnnboost.deploy.parity import IMAGES, Parity, check_parity, limits_of
from cnnboost.errors import ModelError, RecipeError, StoreError
from cnnboost.features.cut import Cut
from cnnboost.files import digest_of, file_digest
from cnnboost.images.views import TTA, mean_over_views
from cnnboost.locks import alone_in, file_lock
from cnnboost.metrics.scores import score
from cnnboost.stages.hybrid_scores import image_proba, judged
from cnnboost.stages.hybrids import Hybrid, fit_hybrid
from cnnboost.stages.int8_scores import int8_proba, measured_on
from cnnboost.stages.job import Job, labelled_digest
from cnnboost.stages.provenance import versions

log = logging.getLogger("cnnboost")

FORMAT = 1
_GRAPHS = 2
"""Number of the way in which graphs are made; a bundle with graphs of another is made anew."""


@dataclass(frozen=True)
class Exported:
    """A bundle and whether it was there already."""

    bundle: Bundle
    cached: bool


def export(
    job: Job,
    layers: str | Sequence[str] | None = None,
    *,
    mode: str | None = None,
    tta: str | None = None,
    int8: bool | None = None,
    device: str | None = None,
    out: Path | None = None,
) -> Exported:
    """Bring the bundle of one hybrid up to date; CNN, features and head too."""
    if job.model is not None and out is None:
        raise RecipeError(
            f"--model {job.model}: say with --out where its bundle goes; {job.models_dir} belongs to the "
            "recipe's own CNN"
        )
    if job.model is not None:
        job.feeding.require()
    needs = job.needs()
    hybrid = fit_hybrid(needs, layers, mode=mode, tta=tta, device=device)
    trained, head = hybrid.trained, hybrid.head
    folder = out or job.bundle_dir
    scored = job.images[job.scored_split]
    int8 = job.recipe.export.int8 if int8 is None else int8
    made_from = digest_of(
        {
            "format": FORMAT,
            "graphs": _GRAPHS,
            "cnn": [file_digest(network.path) for network in hybrid.networks.trained],
            "head": head.details["made_from"],
            "trees": file_digest(head.path),
            "tta": hybrid.tta,
            "int8": int8,
            "pixels": trained.pixels,
            "scored": [scored.name, labelled_digest(scored)],
            "recipe": job.recipe.digest(*BUNDLE_TABLES),
        }
    )
    with file_lock(job.models_dir / "export.lock", folder / "manifest.json"), alone_in(folder):
        finish(folder)  # what a killed export had put together already
        there = None if job.force else _load_cached(folder, made_from)
        if there:
            return Exported(there, True)
        return Exported(_export(needs, hybrid, folder, made_from, int8), False)


def _load_cached(folder: Path, made_from: str) -> Bundle | None:
    """Return the bundle on disk if it is the one that is wanted."""
    if not is_bundle(folder):
        return None
    try:
        bundle = read_bundle(folder)
    except StoreError as error:
        log.warning("%s; it is made anew", str(error).split(";")[0])
        return None
    if bundle.manifest.get("made_from") != made_from:
        return None
    log.info("%s is up to date", folder / "manifest.json")
    return bundle


def _export(job: Job, hybrid: Hybrid, folder: Path, made_from: str, int8: bool) -> Bundle:
    trained, head, scored = hybrid.trained, hybrid.head, job.images[job.scored_split]
    shape = tuple(int(size) for size in job.images.X.shape[1:])
    classes = [str(name) for name in head.boost.classes_]
    native = _native(hybrid)
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "recipe": job.recipe.name,
        "classes": classes,
        "layer": head.layer,
        "mode": head.mode,
        "rounds": head.boost.n_estimators_,
        "tta": hybrid.tta,
        "networks": len(hybrid.networks.trained),
        "pixels": trained.pixels,
        "input": dict(zip(("height", "width", "channels"), shape, strict=True)),
        "native": {name: hashlib.sha256(native[name]).hexdigest() for name in ("cnn.keras", "head.ubj")},
    }
    if head.mode != "plain":
        metadata |= {key: head.details[key] for key in ("layers", "temperature", "weight", "norm")}
    log.info("export %s, %s, to %s", head.layer, head.mode, folder)
    exact = judged(job, hybrid, scored)
    references = {"hybrid": exact.proba}
    cnn = _softmax(hybrid, scored.X)
    graphs = {"hybrid": _graph(hybrid, shape, len(classes))}
    if cnn is not None:
        references["cnn"] = cnn
        graphs["cnn"] = cnn_graph(
            trained.model, pixels=trained.pixels, kind=trained.cnn.output_kind_, shape=shape, tta=hybrid.tta
        )
    images, rows = _compared(job, hybrid, list(graphs))
    if int8:
        graphs["int8"] = int8_graph(graphs["hybrid"], measured_on(job.images.train), "the hybrid")
        rows["int8"] = rows["hybrid"]
    models = [network.model for network in hybrid.networks.trained]
    parity: dict[str, list[Parity]] = {}
    contents: dict[str, bytes] = {}
    with job.progress("compare graphs", "graph") as report:
        for done, (name, graph) in enumerate(graphs.items()):
            report(done, len(graphs))
            kind = {"kind": "hybrid", "int8": True} if name == "int8" else {"kind": name}
            content = serialise(graph, {**metadata, **kind})
            parity[name] = check_parity(
                content, images, rows[name],
                name=f"{name}.onnx", views=TTA[hybrid.tta], limits=limits_of(models, int8=name == "int8"),
            )  # fmt: skip
            contents[f"{name}.onnx"] = content
        report(len(graphs), len(graphs))
    if int8:
        references["int8"] = int8_proba(contents["int8.onnx"], hybrid, exact, job.images.train, scored.X)
    scores = {
        name: _scores(scored, probabilities, scored.classes) for name, probabilities in references.items()
    }
    manifest = {
        **{key: value for key, value in metadata.items() if key not in ("format", "native")},
        "title": job.recipe.title,
        "made_from": made_from,
        "recipe_digest": job.recipe.digest(*BUNDLE_TABLES),
        "scores": {
            "split": scored.name,
            "images": len(scored),
            "chosen_on": head.details.get("chosen_on"),
            "cross_fitted": exact.cross_fitted,
            **scores,
        },
        "parity": {kind: [p.to_dict() for p in found] for kind, found in parity.items()},
        "versions": versions(),
    }
    return write_bundle(folder, manifest, {**native, **contents})


def _graph(hybrid: Hybrid, shape: tuple[int, ...], n_classes: int) -> Any:
    trained, head = hybrid.trained, hybrid.head
    if head.mode == "plain" and hybrid.tta == "none":
        # Needs no probabilities of the network, and so takes networks that have none.
        trunk = Cut(trained.model).trunk([head.layer])
        return trunk_graph(
            trunk, head.boost.booster_, pixels=trained.pixels, shape=shape, n_classes=n_classes
        )
    return hybrid_graph(hybrid.classifier, shape)


def _native(hybrid: Hybrid) -> dict[str, bytes]:
    """Return the content of the files that the graphs are made from."""
    content = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, trained in enumerate(hybrid.networks.trained, 1):
            member = "cnn.keras" if number == 1 else f"cnn-{number}.keras"
            path = trained.path
            if path.suffix != ".keras":
                path = write_model(trained.model, folder / member)
            content[member] = path.read_bytes()
        hybrid.head.boost.save(folder / "head.ubj", details=hybrid.head.details)
        return {
            **content,
            "head.ubj": (folder / "head.ubj").read_bytes(),
            "head.json": (folder / "head.json").read_bytes(),
        }


def _softmax(hybrid: Hybrid, X: np.ndarray) -> np.ndarray | None:
    """Return the CNN's own probabilities; None where it has none to give."""
    trained = hybrid.trained
    try:
        return mean_over_views(trained.cnn.predict_view_proba, X, hybrid.tta)
    except ModelError as error:
        if trained.metadata:  # our own CNN always gives some
            raise
        log.info("no cnn.onnx: %s", error)
        return None


def _compared(job: Job, hybrid: Hybrid, kinds: list[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Choose images to compare graphs on: of the scored split; of train too where these are few."""
    scored = job.images[job.scored_split]
    rows = np.linspace(0, len(scored) - 1, min(IMAGES, len(scored))).astype(int)
    images = scored.X[rows]
    missing = min(IMAGES - len(rows), len(job.images.train))
    if missing > 0:
        images = np.concatenate([images, job.images.train.X[:missing]])
    images = np.ascontiguousarray(images)
    found = {"hybrid": image_proba(hybrid, images)}
    if "cnn" in kinds:
        found["cnn"] = mean_over_views(hybrid.trained.cnn.predict_view_proba, images, hybrid.tta)
    return images, found


def _scores(split: Any, probabilities: np.ndarray, classes: Any) -> dict[str, float]:
    found = score(split.y, probabilities, classes, n_resamples=100)
    names = ("accuracy", "macro_f1", "log_loss", "calibration_error")
    return {name: float(getattr(found, name).value) for name in names}
