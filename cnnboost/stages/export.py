"""hybrid -> bundle: the files that run it elsewhere, written once the graphs are shown to agree."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.cnn.model_file import write_model
from cnnboost.config import BUNDLE_TABLES
from cnnboost.deploy.bundle import Bundle, finish, graph_name, member_name, read_bundle, write_bundle
from cnnboost.deploy.graph import cnn_graph, hybrid_graph, trunk_graph
from cnnboost.deploy.graph_file import serialise
from cnnboost.deploy.int8 import IMAGES as CALIBRATED
from cnnboost.deploy.int8 import int8_graph
from cnnboost.deploy.parity import IMAGES, check_parity, limits_of
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import ModelError, RecipeError, StoreError
from cnnboost.features.cut import Cut
from cnnboost.files import file_digest
from cnnboost.hybrid.modes import described
from cnnboost.images import Split
from cnnboost.images.views import TTA, mean_over_views
from cnnboost.locks import alone_in, file_lock
from cnnboost.metrics.scores import score
from cnnboost.stages.hybrids import Hybrid, fit_hybrid
from cnnboost.stages.job import Job, labelled_digest
from cnnboost.stages.predictions import Predictions, image_proba, predictions_of
from cnnboost.stages.provenance import versions
from cnnboost.stages.stage import Stage

log = logging.getLogger("cnnboost")

FORMAT = 1
#: Version of the graphs; a bundle with graphs of another version is exported again.
_GRAPHS = 2
_SCORES = ("accuracy", "macro_f1", "log_loss", "calibration_error")


@dataclass(frozen=True)
class Exported:
    """A bundle, and whether it was up to date already."""

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
    """Bring the bundle of one hybrid up to date, and the CNN, features and head that it needs."""
    if job.model is not None:
        if out is None:
            raise RecipeError(
                f"--model {job.model}: say with --out where its bundle goes; {job.models_dir} belongs to the "
                "recipe's own CNN"
            )
        job.feeding.require()
    hybrid = fit_hybrid(job.needs(), layers, mode=mode, tta=tta, device=device)
    return BundleStage(job, hybrid, out or job.bundle_dir, int8).run()


class BundleStage(Stage[Exported]):
    """The bundle of one hybrid; its manifest is written last."""

    def __init__(self, job: Job, hybrid: Hybrid, folder: Path, int8: bool | None) -> None:
        self.job, self.hybrid, self.folder, self.force = job, hybrid, folder, job.force
        self.path = folder / "manifest.json"
        self.int8 = job.recipe.export.int8 if int8 is None else int8

    def inputs(self) -> dict[str, Any]:
        """Return networks, head, the scored images and the version of the graphs."""
        job, hybrid, scored = self.job, self.hybrid, self.job.images[self.job.scored_split]
        return {
            "format": FORMAT,
            "graphs": _GRAPHS,
            "cnn": [file_digest(network.path) for network in hybrid.networks.trained],
            "head": hybrid.head.details["made_from"],
            "trees": file_digest(hybrid.head.path),
            **self._others(),
            "tta": hybrid.tta,
            "int8": self.int8,
            "pixels": hybrid.trained.pixels,
            "scored": [scored.name, labelled_digest(scored)],
            "recipe": job.recipe.digest(*BUNDLE_TABLES),
        }

    def _others(self) -> dict[str, Any]:
        """Return the heads of the other members of a bagged hybrid."""
        others = [[head.details["made_from"], file_digest(head.path)] for head in self.hybrid.head.others]
        return {"others": others} if others else {}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other exports of the recipe away, and other bundles from the folder."""
        with file_lock(self.job.models_dir / "export.lock", self.path), alone_in(self.folder):
            finish(self.folder)  # a killed export may have assembled a bundle
            yield

    @cached_property
    def stored(self) -> Bundle:
        """The bundle on the disk."""
        return read_bundle(self.folder)

    def recorded(self) -> str | None:
        """Return the digest in the manifest."""
        try:
            manifest = self.stored.manifest
            # Changes no value, and is therefore no part of the digest; but the bundle has to say it.
            same = manifest.get("wants") == self.job.recipe.export.wants
            return manifest.get("made_from") if same else None
        except StoreError as error:
            log.warning("%s; exporting it again", str(error).split(";")[0])
            return None

    def load(self) -> Exported:
        """Return the bundle on the disk."""
        return Exported(self.stored, True)

    def build(self) -> Exported:
        """Write graphs that were shown to agree."""
        return Exported(self._export(), False)

    def _export(self) -> Bundle:
        job, hybrid, int8 = self.job.needs(), self.hybrid, self.int8
        trained, head, scored = hybrid.trained, hybrid.head, job.images[job.scored_split]
        native = _native(hybrid)
        metadata: dict[str, Any] = {
            "recipe": job.recipe.name,
            "classes": [str(name) for name in head.boost.classes_],
            "layer": head.layer,
            "mode": head.mode,
            "rounds": head.rounds,
            "tta": hybrid.tta,
            "networks": len(hybrid.networks.trained),
            "pixels": trained.pixels,
            "input": dict(zip(("height", "width", "channels"), map(int, scored.X.shape[1:]), strict=True)),
        }
        if job.recipe.export.wants is not None:
            metadata["wants"] = job.recipe.export.wants
        if head.mode != "plain":
            metadata |= {key: head.details[key] for key in ("layers", "norm")}
            metadata |= described([one.fitted for one in head.all])
        log.info("export %s, %s, to %s", head.layer, head.mode, self.folder)
        exact = predictions_of(job, hybrid, scored)
        proba = {"hybrid": exact.proba}
        graphs = {"hybrid": _hybrid_graph(hybrid, scored.X.shape[1:])}
        softmax = _softmax(hybrid, scored.X)
        images = _compared_images(scored, job.images.train)
        references = {"hybrid": image_proba(hybrid, images)}
        if softmax is not None:
            proba["cnn"] = softmax
            references["cnn"] = mean_over_views(trained.cnn.predict_view_proba, images, hybrid.tta)
            graphs["cnn"] = cnn_graph(
                trained.model, pixels=trained.pixels, kind=trained.cnn.output_kind_,
                shape=scored.X.shape[1:], tta=hybrid.tta,
            )  # fmt: skip
        if int8:
            graphs["int8"] = int8_graph(graphs["hybrid"], calibration_images(job.images.train), "the hybrid")
            references["int8"] = references["hybrid"]
        digests = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in native.items()
            if not name.endswith(".json")
        }
        models = [network.model for network in hybrid.networks.trained]
        parity: dict[str, list[dict[str, Any]]] = {}
        files: dict[str, bytes] = {}
        with job.progress("compare graphs", "graph") as report:
            for done, (name, graph) in enumerate(graphs.items()):
                report(done, len(graphs))
                quantised = name == "int8"
                kind = {"kind": "hybrid", "int8": True} if quantised else {"kind": name}
                content = serialise(graph, {"format": FORMAT, **metadata, "native": digests, **kind})
                compared = check_parity(
                    content, images, references[name],
                    name=graph_name(name), views=TTA[hybrid.tta], limits=limits_of(models, int8=quantised),
                )  # fmt: skip
                parity[name] = [row._asdict() for row in compared]
                files[graph_name(name)] = content
            report(len(graphs), len(graphs))
        if int8:
            proba["int8"] = int8_proba(files[graph_name("int8")], hybrid, exact, job.images.train, scored.X)
        manifest = {
            **metadata,
            "title": job.recipe.title,
            "made_from": self.made_from,
            "recipe_digest": job.recipe.digest(*BUNDLE_TABLES),
            "scores": {
                "split": scored.name,
                "images": len(scored),
                "chosen_on": head.details.get("chosen_on"),
                "cross_fitted": exact.cross_fitted,
                **{name: _scores(scored, given) for name, given in proba.items()},
            },
            "parity": parity,
            "versions": versions(),
        }
        return write_bundle(self.folder, manifest, {**native, **files})


def calibration_images(train: Split) -> np.ndarray:
    """Choose the training images on which the ranges of activations are measured, evenly spaced."""
    return train.X[np.linspace(0, len(train) - 1, min(CALIBRATED, len(train))).astype(int)]


def int8_proba(content: bytes, hybrid: Hybrid, exact: Predictions, train: Split, X: np.ndarray) -> np.ndarray:
    """Give the probabilities by the int8 graph that images are scored by; none affects its own score."""
    own = Predictor(content)
    if not exact.cross_fitted:
        return own.predict_proba(X)
    calibration, proba = calibration_images(train), np.empty_like(exact.proba)
    for rows, heads in exact.heads:
        graph = int8_graph(hybrid_graph(hybrid.with_heads(heads), X.shape[1:]), calibration)
        proba[rows] = Predictor(serialise(graph, own.details)).predict_proba(np.ascontiguousarray(X[rows]))
    return proba


def _hybrid_graph(hybrid: Hybrid, shape: tuple[int, ...]) -> Any:
    trained, head = hybrid.trained, hybrid.head
    if head.mode != "plain" or hybrid.tta != "none":
        return hybrid_graph(hybrid.classifier, shape)
    # Needs no probabilities of the network, which may have none.
    trunk, n_classes = Cut(trained.model).trunk([head.layer]), len(head.boost.classes_)
    return trunk_graph(trunk, head.boost.booster_, pixels=trained.pixels, shape=shape, n_classes=n_classes)


def _native(hybrid: Hybrid) -> dict[str, bytes]:
    """Return the content of the files that the graphs are made from."""
    members = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, trained in enumerate(hybrid.networks.trained, 1):
            member = f"{member_name('cnn', number)}.keras"
            is_keras = trained.path.suffix == ".keras"
            path = trained.path if is_keras else write_model(trained.model, folder / member)
            members[member] = path.read_bytes()
        for number, head in enumerate(hybrid.head.all, 1):
            member = member_name("head", number)
            head.boost.save(folder / f"{member}.ubj", details=head.details)
            for file in (f"{member}.ubj", f"{member}.json"):
                members[file] = (folder / file).read_bytes()
        return members


def _softmax(hybrid: Hybrid, X: np.ndarray) -> np.ndarray | None:
    """Return the CNN's own probabilities; None if it has none."""
    trained = hybrid.trained
    try:
        return mean_over_views(trained.cnn.predict_view_proba, X, hybrid.tta)
    except ModelError as error:
        if trained.metadata:  # a CNN that was trained here always has some
            raise
        log.info("no cnn.onnx: %s", error)
        return None


def _compared_images(scored: Split, train: Split) -> np.ndarray:
    """Choose images to compare graphs on: of the scored split, and training images if there are few."""
    rows = np.linspace(0, len(scored) - 1, min(IMAGES, len(scored))).astype(int)
    return np.ascontiguousarray(np.concatenate([scored.X[rows], train.X[: IMAGES - len(rows)]]))


def _scores(split: Split, proba: np.ndarray) -> dict[str, float]:
    scores = score(split.y, proba, split.classes, n_resamples=100)
    return {name: float(getattr(scores, name).value) for name in _SCORES}
