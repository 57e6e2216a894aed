"""hybrid -> bundle: the files that run it elsewhere, written once the graphs are shown to agree."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.cnn.model_file import write_model
from cnnboost.deploy.bundle import Bundle, finish, is_bundle, read_bundle, write_bundle
from cnnboost.deploy.graph import cnn_graph, hybrid_graph, serialise
from cnnboost.deploy.parity import IMAGES, Parity, check_parity
from cnnboost.errors import ModelError, RecipeError, StoreError
from cnnboost.evaluation.scores import score
from cnnboost.features.cut import Cut
from cnnboost.files import digest_of, file_digest
from cnnboost.line.boosting import Head, fit_boost
from cnnboost.line.extraction import extract
from cnnboost.line.job import Job, alone
from cnnboost.line.provenance import versions
from cnnboost.line.training import Trained, train
from cnnboost.recipe import HYBRID_TABLES

log = logging.getLogger("cnnboost")

FORMAT = 1


@dataclass(frozen=True)
class Exported:
    """A bundle and whether it was there already.

    Attributes
    ----------
    bundle : Bundle
    cached : bool
    """

    bundle: Bundle
    cached: bool


def export(
    job: Job,
    layer: str | None = None,
    *,
    mode: str = "plain",
    device: str | None = None,
    out: Path | None = None,
) -> Exported:
    """Bring the bundle of one hybrid up to date; CNN, features and head too.

    Parameters
    ----------
    job : Job
    layer : str, optional
        Default: the recipe's.
    mode : {"plain"}
        As in `fit_boost`.
    device : str, optional
        For a head that is not fitted yet.
    out : Path, optional
        Folder for the bundle alone. Default: that of the recipe's CNN.

    Returns
    -------
    Exported

    Raises
    ------
    RecipeError
        If a model file was given and no folder: the bundle's `cnn.keras` would take the place of the
        recipe's.
    ModelError
        If the network cannot be expressed in ONNX, or a graph does not give what the model gives.
    StoreError
        If the folder cannot be written; the bundle that was there is still there.
    CnnboostError
        If images, layer or device are at fault.
    """
    if job.model is not None and out is None:
        raise RecipeError(
            f"--model {job.model}: say with --out where its bundle goes; {job.models_dir} belongs to the "
            "recipe's own CNN"
        )
    needs = job.needs()
    trained = train(needs)
    layer = layer or job.recipe.cut.layer
    features = extract(needs, [layer], ["train"], trained=trained)["train"]
    head = fit_boost(needs, layer, mode=mode, device=device, features=features)
    folder = out or job.models_dir
    made_from = digest_of(
        {
            "format": FORMAT,
            "cnn": file_digest(trained.path),
            "head": head.details["made_from"],
            "trees": file_digest(head.path),
            "pixels": trained.pixels,
            "recipe": job.recipe.digest(*HYBRID_TABLES),
        }
    )
    with alone(job.models_dir / "export.lock", folder / "manifest.json"):
        finish(folder)  # what a killed export had put together already
        there = None if job.force else _there(folder, made_from)
        if there:
            return Exported(there, True)
        return Exported(_export(needs, trained, head, folder, made_from), False)


def _there(folder: Path, made_from: str) -> Bundle | None:
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


def _export(job: Job, trained: Trained, head: Head, folder: Path, made_from: str) -> Bundle:
    shape = tuple(int(size) for size in job.images.X.shape[1:])
    classes = [str(name) for name in head.boost.classes_]
    native = _native(trained, head)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "recipe": job.recipe.name,
        "classes": classes,
        "layer": head.layer,
        "mode": head.mode,
        "rounds": head.boost.n_estimators_,
        "pixels": trained.pixels,
        "input": dict(zip(("height", "width", "channels"), shape, strict=True)),
        "native": {name: hashlib.sha256(native[name]).hexdigest() for name in ("cnn.keras", "head.ubj")},
    }
    scored = extract(job, [head.layer], [job.scored_split], trained=trained)[job.scored_split]
    hybrid = head.boost.predict_proba(scored.stored[head.layer].X)
    cnn = _softmax(trained, scored.split.X)
    trunk = Cut(trained.model).trunk([head.layer])
    graphs, references = {}, {"hybrid": hybrid}
    log.info("export %s, %s, to %s", head.layer, head.mode, folder)
    graphs["hybrid"] = hybrid_graph(
        trunk, head.boost.booster_, pixels=trained.pixels, shape=shape, n_classes=len(classes)
    )
    if cnn is not None:
        references["cnn"] = cnn
        graphs["cnn"] = cnn_graph(
            trained.model, pixels=trained.pixels, kind=trained.cnn.output_kind_, shape=shape
        )
    images, rows = _compared(job, trained, head, references)
    parity: dict[str, list[Parity]] = {}
    members: dict[str, bytes | Path] = dict(native)
    with job.progress("compare graphs", "graph") as report:
        for done, (kind, graph) in enumerate(graphs.items()):
            report(done, len(graphs))
            content = serialise(graph, {**facts, "kind": kind})
            parity[kind] = check_parity(content, images, rows[kind], name=f"{kind}.onnx")
            members[f"{kind}.onnx"] = content
        report(len(graphs), len(graphs))
    scores = {
        kind: _scores(scored.split, probabilities, scored.split.classes)
        for kind, probabilities in references.items()
    }
    manifest = {
        **{key: value for key, value in facts.items() if key not in ("format", "native")},
        "title": job.recipe.title,
        "made_from": made_from,
        "recipe_digest": job.recipe.digest(*HYBRID_TABLES),
        "scores": {"split": scored.split.name, "images": len(scored.split), **scores},
        "parity": {kind: [p.to_dict() for p in found] for kind, found in parity.items()},
        "versions": versions(),
    }
    return write_bundle(folder, manifest, members)


def _native(trained: Trained, head: Head) -> dict[str, bytes]:
    """Return the content of the files that the graphs are made from."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = trained.path
        if path.suffix != ".keras":
            path = write_model(trained.model, folder / "cnn.keras")
        head.boost.save(folder / "head.ubj", details=head.details)
        return {
            "cnn.keras": path.read_bytes(),
            "head.ubj": (folder / "head.ubj").read_bytes(),
            "head.json": (folder / "head.json").read_bytes(),
        }


def _softmax(trained: Trained, X: np.ndarray) -> np.ndarray | None:
    """Return the CNN's own probabilities; None where it has none to give."""
    try:
        return trained.cnn.predict_proba(X)
    except ModelError as error:
        if trained.facts:  # our own CNN always gives some
            raise
        log.info("no cnn.onnx: %s", error)
        return None


def _compared(
    job: Job, trained: Trained, head: Head, references: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Choose images to compare graphs on: of the scored split; of train too where these are few."""
    scored = job.images[job.scored_split]
    rows = np.linspace(0, len(scored) - 1, min(IMAGES, len(scored))).astype(int)
    images = scored.X[rows]
    chosen = {kind: values[rows] for kind, values in references.items()}
    missing = min(IMAGES - len(rows), len(job.images.train))
    if missing > 0:
        more = job.images.train.X[:missing]
        images = np.concatenate([images, more])
        stored = extract(job, [head.layer], ["train"], trained=trained)["train"].stored[head.layer].X
        added = {"hybrid": head.boost.predict_proba(np.asarray(stored[:missing]))}
        if "cnn" in chosen:
            added["cnn"] = trained.cnn.predict_proba(more)
        chosen = {kind: np.concatenate([values, added[kind]]) for kind, values in chosen.items()}
    return np.ascontiguousarray(images), chosen


def _scores(split: Any, probabilities: np.ndarray, classes: Any) -> dict[str, float]:
    found = score(split.y, probabilities, classes, n_resamples=100)
    names = ("accuracy", "macro_f1", "log_loss", "calibration_error")
    return {name: float(getattr(found, name).value) for name in names}
