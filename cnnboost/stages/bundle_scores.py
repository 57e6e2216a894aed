"""bundle, labelled images -> scores: an exported hybrid as it is, beside its network's softmax."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnnboost.boost import BoostClassifier
from cnnboost.cnn.model_file import read_model
from cnnboost.config.experiment import checked
from cnnboost.deploy.bundle import Bundle, read_bundle
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import StoreError
from cnnboost.files import file_part, write_json
from cnnboost.images import Split, load_images
from cnnboost.stages.boosting import Head
from cnnboost.stages.evaluation import Evaluated
from cnnboost.stages.figures import draw_scores
from cnnboost.stages.job import Job
from cnnboost.stages.other_images import rows_of, source_name, to_known_classes
from cnnboost.stages.scorer import Scorer
from cnnboost.stages.training import Trained

log = logging.getLogger("cnnboost")

_CHUNK = 4096


@dataclass(frozen=True)
class _Said:
    """Probabilities by the bundle's graphs; `softmax` is None where it has no graph of its network alone."""

    hybrid: np.ndarray
    softmax: np.ndarray | None


def evaluate_bundle(job: Job, folder: str | os.PathLike[str], *, split: str | None = None) -> Evaluated:
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
    with job.progress("decode images", "image") as report:
        images = load_images(
            job.source,
            size=(size["height"], size["width"]),
            channels=size["channels"],
            validation_fraction=0,
            on_bad=job.on_bad,
            progress=report,
        )
    images, counted_as = to_known_classes(images, known, positive)
    rows = rows_of(images, split)
    unseen = [name for code, name in enumerate(known) if code not in rows.y]
    if unseen:
        log.info("no image is of %s; their scores are of no image", ", ".join(unseen))
    if split is None and "train" in images.split_names and len(images.split_names) > 1:
        log.warning(
            "the images of the split train are scored too; if the model was trained on them, the scores say "
            "little: --split test"
        )
    probabilities = _ask(job, bundle, rows)
    source = source_name(job.source)
    # A job whose reports go to the folder of these images.
    named = recipe.model_copy(update={"name": f"{source}-bundle"})
    there = replace(job, recipe=named, reports=job.reports_dir / "other")
    judge = Scorer(
        job, rows, probabilities.softmax, "the bundle has no graph of its network alone (cnn.onnx)"
    )
    scored = judge.head(_head(bundle), probabilities.hybrid)
    network = read_model(bundle.members["cnn.keras"])
    trained = Trained(network, manifest["pixels"], known, bundle.members["cnn.keras"], {}, True)
    of_cnn = judge.cnn(trained, None)
    of_cnn = of_cnn and {**of_cnn, "seed": None}
    metrics = {
        **judge.document(images, of_cnn, [scored], tta=manifest.get("tta", "none")),
        "recipe_facts": metadata,
        "images": {rows.name: len(rows)},
        "source_name": source,
        "counted_as": counted_as,
        "published": None,
        "bundle": {"folder": str(bundle.folder), "made_from": manifest.get("made_from")},
    }
    path = write_json(there.reports_dir / "metrics.json", metrics)
    if images.bad:
        there._write_bad(images)
    place = metrics["source_name"] + ("" if split is None else f" ({split})")
    figures = draw_scores(there, {**metrics, "split": place}, {}, rows.y, judge.proba)
    return Evaluated(metrics, path, figures)


def _ask(job: Job, bundle: Bundle, rows: Split) -> _Said:
    graphs = [name for name in ("hybrid", "cnn") if f"{name}.onnx" in bundle.members]
    probabilities: dict[str, list[np.ndarray]] = {name: [] for name in graphs}
    with job.progress("score", "image") as report:
        for at, name in enumerate(graphs):
            predictor = Predictor.load(bundle, graph=name)  # type: ignore[arg-type]
            for start in range(0, len(rows), _CHUNK):
                probabilities[name].append(
                    predictor.predict_proba(np.asarray(rows.part(start, start + _CHUNK)))
                )
                report(at * len(rows) + min(start + _CHUNK, len(rows)), len(graphs) * len(rows))
    if "hybrid" not in probabilities:
        raise StoreError(f"{bundle.folder} holds a bundle without hybrid.onnx; export it again")
    found = {name: np.concatenate(parts) for name, parts in probabilities.items()}
    return _Said(found["hybrid"], found.get("cnn"))


def _head(bundle: Bundle) -> Head:
    path = bundle.members["head.ubj"]
    boost = BoostClassifier.load(path)
    return Head(bundle.manifest["layer"], bundle.manifest["mode"], boost, path, boost.details_, True)
