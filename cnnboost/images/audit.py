"""What is in an image set that a score should not be trusted with: duplicates, contradictions, blanks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnboost.images.imageset import ImageSet

_CHUNK_BYTES = 1 << 24


def audit(images: ImageSet) -> dict[str, Any]:
    """Count and compare the images of a set; return plain values for JSON.

    Images are compared by the sha256 of their pixels; mirrored ones by the lesser of the digests of an image
    and its mirror image. `constant` are the ids of images with one value in every pixel of a channel.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    >>> X[1], X[2] = X[0], X[0, :, ::-1]
    >>> duplicates = audit(ImageSet.from_arrays(X, ["a", "b", "a", "b"]))["duplicates"]
    >>> duplicates["exact"]["contradicting"][0]["ids"], duplicates["exact_or_mirrored"]["surplus"]
    (['row 1', 'row 2'], 2)
    """
    n, *shape = images.shape
    exact: list[bytes] = []
    mirrored: list[bytes] = []
    constant: list[npt.NDArray[np.bool_]] = [np.empty(0, dtype=np.bool_)]
    for pixels in images.chunks(max(1, _CHUNK_BYTES // int(np.prod(shape)))):
        flipped = np.ascontiguousarray(pixels[:, :, ::-1])
        for one, other in zip(pixels, flipped, strict=True):
            digest = hashlib.sha256(one.data).digest()
            exact.append(digest)
            mirrored.append(min(digest, hashlib.sha256(other.data).digest()))
        constant.append((pixels == pixels[:, :1, :1]).all(axis=(1, 2, 3)))
    counts = {}
    for name in images.split_names:
        per_class = np.bincount(images[name].y, minlength=len(images.classes))
        counts[name] = dict(zip(images.classes, per_class.tolist(), strict=True))
    return {
        "source": images.source,
        "n_images": n,
        "shape": shape,
        "counts": counts,
        "duplicates": {
            "exact": _duplicates(exact, images),
            "exact_or_mirrored": _duplicates(mirrored, images),
        },
        "constant": images.ids[np.concatenate(constant)].tolist(),
        "bad": [bad._asdict() for bad in images.bad],
    }


def _duplicates(digests: Sequence[bytes], images: ImageSet) -> dict[str, Any]:
    """Count groups of equal images; list those in several splits and those with several labels."""
    rows_by_digest: dict[bytes, list[int]] = {}
    for row, digest in enumerate(digests):
        rows_by_digest.setdefault(digest, []).append(row)
    groups = [
        {
            "ids": images.ids[rows].tolist(),
            "labels": images.labels[rows].tolist(),
            "splits": images.splits[rows].tolist(),
        }
        for rows in rows_by_digest.values()
        if len(rows) > 1
    ]
    contradicting = [group for group in groups if len(set(group["labels"])) > 1]
    across_splits = [group for group in groups if len(set(group["splits"])) > 1]
    return {
        "groups": len(groups),
        "surplus": sum(len(group["ids"]) - 1 for group in groups),
        "groups_across_splits": len(across_splits),
        "contradicting_groups": len(contradicting),
        "contradicting": contradicting,
        "across_splits": across_splits,
    }
