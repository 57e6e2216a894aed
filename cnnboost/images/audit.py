"""What is in an image set that a score should not be trusted with: duplicates, contradictions, blanks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnboost.images.imageset import ImageSet

_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class Group:
    """Images that are the same."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Duplicates:
    """Groups of images that are the same."""

    groups: tuple[Group, ...]

    @property
    def surplus(self) -> int:
        """Rows that would go if one image of each group stayed."""
        return sum(len(group.ids) - 1 for group in self.groups)

    @property
    def across_splits(self) -> tuple[Group, ...]:
        """The groups with images in more than one split."""
        return tuple(group for group in self.groups if len(set(group.splits)) > 1)

    @property
    def contradicting(self) -> tuple[Group, ...]:
        """The groups with more than one label."""
        return tuple(group for group in self.groups if len(set(group.labels)) > 1)

    def to_dict(self) -> dict[str, Any]:
        """Return counts, and the groups that do harm, as plain values."""
        return {
            "groups": len(self.groups),
            "surplus": self.surplus,
            "groups_across_splits": len(self.across_splits),
            "contradicting_groups": len(self.contradicting),
            "contradicting": [asdict(group) for group in self.contradicting],
            "across_splits": [asdict(group) for group in self.across_splits],
        }


@dataclass(frozen=True)
class Audit:
    """What `audit` finds."""

    source: str
    n_images: int
    shape: tuple[int, int, int]
    counts: dict[str, dict[str, int]]  # images by split and class, every class in every split
    exact: Duplicates
    mirrored: Duplicates  # equal as they are, or after a flip from left to right
    constant: tuple[str, ...]  # ids of images with one value in every pixel of a channel
    bad: tuple[tuple[str, str], ...]  # inputs that were left out: place and reason

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {
            "source": self.source,
            "n_images": self.n_images,
            "shape": list(self.shape),
            "counts": self.counts,
            "duplicates": {"exact": self.exact.to_dict(), "exact_or_mirrored": self.mirrored.to_dict()},
            "constant": list(self.constant),
            "bad": [{"place": place, "reason": reason} for place, reason in self.bad],
        }


def audit(images: ImageSet) -> Audit:
    """Count and compare the images of a set.

    Images are compared by the sha256 of their pixels; mirrored ones by the lesser of the digests of an image
    and its mirror image.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    >>> X[1], X[2] = X[0], X[0, :, ::-1]
    >>> result = audit(ImageSet.from_arrays(X, ["a", "b", "a", "b"]))
    >>> [group.ids for group in result.exact.groups], result.mirrored.surplus, len(result.exact.contradicting)
    ([('row 1', 'row 2')], 2, 1)
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
    height, width, channels = shape
    return Audit(
        source=images.source,
        n_images=n,
        shape=(height, width, channels),
        counts=counts,
        exact=_duplicates(exact, images),
        mirrored=_duplicates(mirrored, images),
        constant=tuple(images.ids[np.concatenate(constant)].tolist()),
        bad=tuple((one.place, one.reason) for one in images.bad),
    )


def _duplicates(digests: Sequence[bytes], images: ImageSet) -> Duplicates:
    rows_by_digest: dict[bytes, list[int]] = {}
    for row, digest in enumerate(digests):
        rows_by_digest.setdefault(digest, []).append(row)
    return Duplicates(
        tuple(
            Group(
                ids=tuple(images.ids[rows].tolist()),
                labels=tuple(images.labels[rows].tolist()),
                splits=tuple(images.splits[rows].tolist()),
            )
            for rows in rows_by_digest.values()
            if len(rows) > 1
        )
    )
