"""bundle, labelled images -> scores: an exported hybrid as it is, beside its network's softmax."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnnboost.boost import BoostClassifier
from cnnboost.cnn.model_file import read_model
from cnnboost.config.experiment import checked
from cnnboost.deploy.bundle import Bundle, graph_name, member_name, read_bundle
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import StoreError
from cnnboost.files import file_part
from cnnboost.images import Split
from cnnboost.images.pixels import largest_chunk
from cnnboost.stages.boosting import Head
from cnnboost.stages.job import Job
from cnnboost.stages.other_images import rows_of, source_name, to_known_classes, write_other_scores
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.scorer import Scorer
from cnnboost.stages.training import Trained

log = logging.getLogger("cnnboost")

_AT_ONCE = 8
"""Chunks that a predictor is given at once: it has threads, and cuts them into slices."""


def evaluate_bundle(job: Job, folder: str | os.PathLike[str], *, split: str | None = None) -> Outcome:
    """Score a bundle on the images of a job.

    Every mode and every view is scored as exported: its graphs are asked, as `cnnboost predict` asks them.
    Scores and figures go to `<the bundle's recipe>/other/<name of the source>-bundle/` in the reports.
    """
    bundle = read_bundle(Path(folder))
    manifest = bundle.manifest
    name = file_part(str(manifest["recipe"]))
    metadata = {"evaluate": job.recipe.evaluate.model_dump(mode="json", exclude={"published"})}
    recipe = checked({"name": name, "title": manifest.get("title") or name, **metadata})
    job = replace(job, model=None, recipe=recipe)
    known = tuple(manifest["classes"])
    positive = known[1] if len(known) == 2 and known[0] == f"not {known[1]}" else None
    size = manifest["input"]
    loaded = job.load(size=(size["height"], size["width"]), channels=size["channels"], validation_fraction=0)
    images, counted_as = to_known_classes(loaded, known, positive)
    rows = rows_of(images, split)
    unseen = [name for code, name in enumerate(known) if code not in rows.y]
    if unseen:
        log.info("no image is of %s; their scores are of no image", ", ".join(unseen))
    if split is None and "train" in images.split_names and len(images.split_names) > 1:
        log.warning(
            "the images of the split train are scored too; if the model was trained on them, the scores say "
            "little: --split test"
        )
    hybrid, softmax = _ask(job, bundle, rows)
    scorer = Scorer(job, rows, softmax, "the bundle has no graph of its network alone (cnn.onnx)")
    scorer.head(_head(bundle), hybrid)
    path = bundle.members["cnn.keras"]
    scorer.cnn(Trained(read_model(path), manifest["pixels"], known, path, {}, True), None, seed=None)
    own = {
        "recipe_facts": metadata,
        "counted_as": counted_as,
        "bundle": {"folder": str(bundle.folder), "made_from": manifest.get("made_from")},
    }
    source, tta = source_name(job.source), manifest.get("tta", "none")
    return write_other_scores(job, scorer, images, source, name=f"{source}-bundle", tta=tta, **own)


def _ask(job: Job, bundle: Bundle, rows: Split) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the probabilities by the hybrid and by its network alone, where there is a graph of it."""
    if graph_name("hybrid") not in bundle.members:
        raise StoreError(f"{bundle.folder} holds a bundle without hybrid.onnx; export it again")
    found: list[np.ndarray | None] = []
    with job.progress("score", "image") as report:
        for graph in ("hybrid", "cnn"):
            parts = []
            if graph_name(graph) in bundle.members:
                predictor = Predictor.load(bundle, graph=graph)
                for X in rows.chunks(_AT_ONCE * largest_chunk(rows.shape[1:])):
                    parts.append(predictor.predict_proba(X))
                    report(sum(map(len, parts)), len(rows))
            found.append(np.concatenate(parts) if parts else None)
    hybrid, softmax = found
    assert hybrid is not None
    return hybrid, softmax


def _head(bundle: Bundle) -> Head:
    heads = []
    for number in range(1, len(bundle.manifest.get("heads", [None])) + 1):
        path = bundle.members[f"{member_name('head', number)}.ubj"]
        boost = BoostClassifier.load(path)
        layer, mode = bundle.manifest["layer"], bundle.manifest["mode"]
        heads.append(Head(layer, mode, boost, path, boost.details_, True))
    first, *others = heads
    return replace(first, others=tuple(others))
