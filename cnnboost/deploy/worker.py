"""What a worker of a cluster is asked to do, one task each; neither TensorFlow nor Keras is needed for it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.cluster.tasks import check_wanted
from cnnboost.deploy.trunk import GraphFile, opened
from cnnboost.errors import StoreError
from cnnboost.features.parts import write_part
from cnnboost.features.store import check_block
from cnnboost.files import file_digest

if TYPE_CHECKING:
    from cnnboost.boost import BoostClassifier
    from cnnboost.features.part_table import PartToMake
    from cnnboost.images.shared import SharedRows


def make_parts(
    trunk: GraphFile, images: SharedRows, parts: Sequence[PartToMake], chunk: int
) -> list[dict[str, Any]]:
    """Compute features of some rows, and write them as parts.

    Parameters
    ----------
    trunk : GraphFile
        Of `trunk_file`.
    images : SharedRows
        The rows of the parts, from the first row of any of them on.
    parts : sequence of PartToMake
        Their `table` is the number of an output of the trunk.
    chunk : int
        Images at a time; the rows of each part but the last are a multiple of it.

    Returns
    -------
    list of dict
        The records of the parts, in their order.
    """
    run = opened(trunk)
    begin, end = min(part.start for part in parts), max(part.stop for part in parts)
    records: dict[int, dict[str, Any]] = {}
    blocks: dict[int, list[np.ndarray]] = {number: [] for number in range(len(parts))}
    for first in range(begin, end, chunk):
        check_wanted()
        last = min(first + chunk, end)
        filled = [number for number, part in enumerate(parts) if part.start <= first < part.stop]
        features = run(images.part(first - begin, last - begin)) if filled else []
        for number in filled:
            part, block = parts[number], features[parts[number].table]
            check_block(part.layer, block.shape[1], block, first, last)
            blocks[number].append(block)
            if last >= part.stop:
                records[number] = write_part(part.path, np.concatenate(blocks.pop(number)))
    return [records[number] for number in range(len(parts))]


def probabilities(network: GraphFile, images: SharedRows, count: int) -> np.ndarray:
    """Return what a network that gives probabilities says of the first rows, float32 (count, k)."""
    return opened(network)(images.part(0, count))[0]


def count_right(network: GraphFile, images: SharedRows, codes: np.ndarray) -> int:
    """Count the rows whose most probable class is theirs; `codes` has the class of each, (n,)."""
    return int(np.sum(probabilities(network, images, len(codes)).argmax(axis=1) == codes))


@functools.lru_cache(maxsize=2)
def _loaded(path: Path, sha256: str) -> BoostClassifier:
    """Load a head once for all tasks; another one under the same name has another checksum."""
    from cnnboost.boost import BoostClassifier

    if file_digest(path) != sha256:
        raise StoreError(f"{path} was altered while it was in use; run the command again")
    return BoostClassifier.load(path)


def tree_probabilities(head: tuple[Path, str], features: Any) -> np.ndarray:
    """Return what a head (its file, and the sha256 of that) says of rows of the store, float32 (n, k)."""
    return _loaded(*head).predict_proba(features)
