"""CNN -> features: any number of layers in one pass over the images."""

from __future__ import annotations

import io
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.cnn.architectures import without_weights
from cnnboost.cnn.inference import Inference
from cnnboost.cnn.model_file import read_model
from cnnboost.cnn.training_model import network
from cnnboost.errors import DataError, ModelError
from cnnboost.features.cut import Cut, CutLayer
from cnnboost.features.store import FeatureSpec, FeatureStore, Stored
from cnnboost.files import file_part, short_digest, write_bytes
from cnnboost.images import Split
from cnnboost.images.pixels import CHUNKS, largest_chunk
from cnnboost.locks import alone_in
from cnnboost.stages.job import Job
from cnnboost.stages.names import check_names
from cnnboost.stages.on_cluster import features_on_cluster
from cnnboost.stages.training import Trained, train

log = logging.getLogger("cnnboost")


@dataclass(frozen=True)
class Extracted:
    """Features of one split."""

    split: Split
    stored: dict[str, Stored]


def layers_of(job: Job) -> list[dict[str, Any]]:
    """List the layers where the CNN can be cut, of its architecture alone: nothing is trained or fetched."""
    table = job.recipe.cnn
    if job.model is not None or Path(table.architecture).suffix:
        model = job.given if job.model is not None else read_model(table.architecture)
        return [vars(layer) for layer in Cut(model).layers]
    shape, n_classes = _image_shape(job), _number_of_classes(job)
    found = []
    for n in (2, 3) if n_classes is None else (n_classes,):
        model = network(table.architecture, shape, n, without_weights(table.architecture, table.options))[0]
        found.append([vars(layer) for layer in Cut(model).layers])
    same = [{layer["width"] for layer in layers} for layers in zip(*found, strict=True)]
    return [
        {**layer, "width": layer["width"] if len(widths) == 1 else None}
        for layer, widths in zip(found[0], same, strict=True)
    ]


def _image_shape(job: Job) -> tuple[int, int, int]:
    data = job.recipe.data
    if data.size is not None and data.channels is not None:
        height, width = (data.size, data.size) if isinstance(data.size, int) else data.size
        return height, width, data.channels
    missing = [f"data.{key}" for key in ("size", "channels") if getattr(data, key) is None]
    try:
        height, width, channels = job.images.shape[1:]
    except DataError as error:
        raise DataError(
            f"recipe {job.recipe.name!r} does not state {' and '.join(missing)}, on which its network "
            f"depends: --set {missing[0]}=..., or images it can be taken from. {error}"
        ) from error
    return height, width, channels


def _number_of_classes(job: Job) -> int | None:
    data = job.recipe.data
    if data.binary is not None:
        return 2
    if data.classes is not None:
        return len([name for name in data.classes if name not in data.drop])
    try:
        _ = job.source
    except DataError:
        return None
    return len(job.images.classes)


def extract(
    job: Job,
    layers: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    *,
    trained: Trained | None = None,
) -> dict[str, Extracted]:
    """Bring the features of some layers and splits up to date."""
    chosen = [job.images[name] for name in splits or job.images.split_names]
    if trained is None:
        check_names(job, layers or job.recipe.cut.layers, heads=False)
        trained = train(job.needs())
    if trained.feeding is not None:
        trained.feeding.warn()
    cut = Cut(trained.model)
    places = [cut.find(name) for name in dict.fromkeys(layers or job.recipe.cut.layers)]
    store = FeatureStore(job.models_dir / "features")
    digests = {place.name: cut.digest(place.name) for place in places}
    return {split.name: _extract(job, split, cut, places, digests, store, trained) for split in chosen}


def export_plain(extracted: dict[str, Extracted], out: Path) -> list[Path]:
    """Write features and labels as plain `.npy` files."""
    written = []
    # The files of two commands that write here at once must not mix.
    with alone_in(out):
        for name, part in extracted.items():
            files = _file_names(name, list(part.stored))
            for layer, stored in part.stored.items():
                written.append(stored.export(out / files[layer]))
            content = io.BytesIO()
            np.save(content, part.split.labels, allow_pickle=False)
            written.append(write_bytes(out / f"{name}-labels.npy", content.getbuffer()))
    return written


def _file_names(split: str, layers: Sequence[str]) -> dict[str, str]:
    """Return what the plain files of a split's layers are called, apart from each other and its labels."""
    parts = {layer: file_part(layer) for layer in layers}
    count = Counter(unicodedata.normalize("NFC", part).casefold() for part in (*parts.values(), "labels"))
    return {
        layer: f"{split}-{part}.npy"
        if count[unicodedata.normalize("NFC", part).casefold()] == 1
        else f"{split}-{part}-{short_digest(layer)}.npy"
        for layer, part in parts.items()
    }


def _extract(
    job: Job,
    split: Split,
    cut: Cut,
    places: Sequence[CutLayer],
    digests: dict[str, str],
    store: FeatureStore,
    trained: Trained,
) -> Extracted:
    _check_input(job, split, trained)
    specs = [
        FeatureSpec(
            layer=place.name,
            trunk=digests[place.name],
            width=place.width,
            pixels=trained.pixels,
            images=split.digest,
            rows=len(split),
        )
        for place in places
    ]
    trunks: dict[tuple[int, ...], Inference] = {}
    pieces: list[Iterator[np.ndarray]] = []
    step = largest_chunk(split.shape[1:])

    def compute(start: int, stop: int, wanted: Sequence[int]) -> Sequence[np.ndarray]:
        key = tuple(wanted)
        if not pieces:  # the store asks in order, from the first row that is missing
            pieces.append(closing_at_end.enter_context(closing(split.chunks(step, start))))
        if key not in trunks:
            trunks[key] = Inference(cut.trunk([places[i].name for i in key]), trained.pixels)
        # The store's steps are the same for images of every size; of large ones, fewer are decoded at once.
        found = [trunks[key](next(pieces[0])) for _ in range(start, stop, step)]
        return found[0] if len(found) == 1 else [np.concatenate(of) for of in zip(*found, strict=True)]

    with ExitStack() as closing_at_end, job.progress(f"extract {split.name}", "image") as report:
        if job.client is not None:
            stored = features_on_cluster(job, split, cut, places, specs, store, trained, report)
        else:
            stored = store.extract(
                specs,
                compute,
                chunk=CHUNKS[-1],
                ids=split.ids.tolist(),
                details={"split": split.name, "recipe": job.recipe.name},
                force=job.force,
                progress=report,
            )
    for place, result in zip(places, stored, strict=True):
        if result.cached:
            log.info("%s of %s is up to date (%s)", place.name, split.name, result.path)
        elif result.resumed_from:
            log.info("%s of %s continued at image %d", place.name, split.name, result.resumed_from)
    return Extracted(split, {place.name: result for place, result in zip(places, stored, strict=True)})


def _check_input(job: Job, split: Split, trained: Trained) -> None:
    want = trained.model.input_shape[1:]
    if any(w not in (None, g) for g, w in zip(split.shape[1:], want, strict=True)):
        raise ModelError(
            f"{trained.path} takes images of {'x'.join(map(str, want))}, those of {job.source_shown} are "
            f"{'x'.join(map(str, split.shape[1:]))}; set data.size and data.channels of the recipe"
        )
