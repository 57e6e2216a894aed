"""What stages have the workers of a Dask cluster do: features, probabilities, counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from cnnboost.cluster.connection import check_folder, check_versions
from cnnboost.cluster.tasks import spread
from cnnboost.cnn.inference import Inference
from cnnboost.deploy.graph import cnn_graph
from cnnboost.deploy.graph_file import add_checksum
from cnnboost.deploy.trunk import RUNTIME, GraphFile, check_features, shared_graph, trunk_file
from cnnboost.deploy.worker import count_right, make_parts, probabilities, tree_probabilities
from cnnboost.features.cut import Cut, CutLayer
from cnnboost.features.part_table import PartToMake
from cnnboost.features.parts import PartCheck, library_versions
from cnnboost.features.store import FeatureSpec, FeatureStore, Stored
from cnnboost.files import file_digest
from cnnboost.images import Split
from cnnboost.images.pixels import CHUNKS, largest_chunk
from cnnboost.images.shared import SharedRows
from cnnboost.stages.job import Job
from cnnboost.stages.training import Trained

log = logging.getLogger("cnnboost")

COMPARED = 64
"""Number of images on which the exported trunk is compared with Keras before any worker runs it."""
_SCORED, _SCORED_BYTES = 2048, 32 << 20
"""Number of images, and of bytes of features, of a task that gives probabilities."""

_checked: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def cluster_of(job: Job) -> Any:
    """Return the client of a job, once it is known that its machines can do the work."""
    seen = _checked.get(job.client)
    if seen is None:
        check_versions(job.client)
        seen = _checked[job.client] = set()
    folder = job.models_dir.resolve()
    if str(folder) not in seen:
        check_folder(job.client, folder)
        seen.add(str(folder))
    return job.client


def features_on_cluster(
    job: Job,
    split: Split,
    cut: Cut,
    places: Sequence[CutLayer],
    specs: Sequence[FeatureSpec],
    store: FeatureStore,
    trained: Trained,
    report: Callable[[int, int], object],
) -> list[Stored]:
    """Bring features up to date on workers, which write them to the store."""
    client = cluster_of(job)
    images = SharedRows.of(split)

    def make(pieces: Iterable[list[PartToMake]]) -> Iterator[list[tuple[PartToMake, dict[str, Any]]]]:
        content = _exported(cut, places, split, trained)
        under_way: dict[int, list[PartToMake]] = {}

        def tasks(trunk: GraphFile) -> Iterator[tuple[Any, ...]]:
            for number, parts in enumerate(pieces):
                under_way[number] = parts
                rows = images.range(min(part.start for part in parts), max(part.stop for part in parts))
                yield trunk, rows, parts, largest_chunk(split.shape[1:])

        with shared_graph(content, store.root) as trunk:
            for number, records in spread(client, make_parts, tasks(trunk), what="features"):
                yield list(zip(under_way.pop(number), records, strict=True))

    def verify(checks: Sequence[PartCheck]) -> Iterable[str | None]:
        given = ((check._replace(path=check.path.resolve()),) for check in checks)
        found = dict(spread(client, PartCheck.fault, given, what="comparisons of parts with their checksums"))
        return [found[number] for number in range(len(checks))]

    return store.extract_elsewhere(
        specs,
        make,
        verify,
        chunk=CHUNKS[-1],
        made_with=library_versions(*RUNTIME),
        details={"split": split.name, "recipe": job.recipe.name},
        force=job.force,
        progress=report,
    )


def _exported(cut: Cut, places: Sequence[CutLayer], split: Split, trained: Trained) -> bytes:
    """Export the trunk, and compare it with Keras on a few images."""
    model = cut.trunk([place.name for place in places])
    content = trunk_file(model, places, pixels=trained.pixels, shape=split.shape[1:])
    X = split.at(np.unique(np.linspace(0, len(split) - 1, COMPARED).astype(int)))
    check_features(content, Inference(model, trained.pixels)(X), X, places)
    return content


def softmax_on_cluster(job: Job, trained: Trained, split: Split) -> np.ndarray:
    """Return the CNN's own probabilities of a split, (n, k)."""
    parts = dict(_over_images(job, trained, split, probabilities, lambda start, stop: stop - start))
    return np.concatenate([parts[number] for number in range(len(parts))])


def count_right_on_cluster(job: Job, trained: Trained, split: Split) -> int:
    """Count the images of a split whose most probable class is theirs."""
    counts = _over_images(job, trained, split, count_right, lambda start, stop: split.y[start:stop])
    return sum(count for _, count in counts)


def _over_images(
    job: Job,
    trained: Trained,
    split: Split,
    function: Callable[..., Any],
    argument: Callable[[int, int], Any],
) -> Iterator[tuple[int, Any]]:
    client, images = cluster_of(job), SharedRows.of(split)
    cnn = trained.cnn
    graph = cnn_graph(cnn.model_, pixels=cnn.pixels_, kind=cnn.output_kind_, shape=split.shape[1:])
    content = add_checksum(graph.SerializeToString(deterministic=True))
    steps = [(start, min(start + _SCORED, len(split))) for start in range(0, len(split), _SCORED)]
    done = 0
    with (
        shared_graph(content, job.models_dir) as network,
        job.progress(f"score {split.name}", "image") as report,
    ):
        tasks = ((network, images.range(*step), argument(*step)) for step in steps)
        for number, result in spread(client, function, tasks, what="scores"):
            done += steps[number][1] - steps[number][0]
            report(done, len(split))
            yield number, result


def proba_on_cluster(job: Job, head: Path, stored: Stored) -> np.ndarray:
    """Return the probabilities that a saved head gives rows in the store, (n, k); workers read them."""
    features, digest = stored.features, file_digest(head)
    step = max(1, _SCORED_BYTES // (4 * features.shape[1]))
    starts = range(0, len(features), step)
    tasks = (
        ((head.resolve(), digest), features.excerpt(first, min(first + step, len(features))))
        for first in starts
    )
    found = dict(spread(cluster_of(job), tree_probabilities, tasks, what="scores"))
    return np.concatenate([found[number] for number in range(len(found))])
