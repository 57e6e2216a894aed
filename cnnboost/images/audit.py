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

    @property
    def contradicts(self) -> bool:
        """Whether the same image carries different labels."""
        return len(set(self.labels)) > 1

    @property
    def crosses(self) -> bool:
        """Whether the same image stands in different splits."""
        return len(set(self.splits)) > 1


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
        """The groups that stand in more than one split."""
        return tuple(group for group in self.groups if group.crosses)

    @property
    def contradicting(self) -> tuple[Group, ...]:
        """The groups that carry more than one label."""
        return tuple(group for group in self.groups if group.contradicts)

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
    """What `audit` found.

    Attributes
    ----------
    source : str
    n_images : int
    shape : tuple of int
        (height, width, channels).
    counts : dict of str to dict of str to int
        ``counts[split][class]``, every class in every split.
    exact : Duplicates
        Images with equal pixels.
    mirrored : Duplicates
        Images with equal pixels, or equal after a flip from left to right: exact ones are among them.
    constant : tuple of str
        Ids of images with one value in every pixel of a channel.
    bad : tuple of (place, reason)
        Inputs of the source that were left out.
    """

    source: str
    n_images: int
    shape: tuple[int, int, int]
    counts: dict[str, dict[str, int]]
    exact: Duplicates
    mirrored: Duplicates
    constant: tuple[str, ...]
    bad: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {
            "source": self.source,
            "n_images": self.n_images,
            "shape": list(self.shape),
            "counts": {split: dict(counts) for split, counts in self.counts.items()},
            "duplicates": {"exact": self.exact.to_dict(), "exact_or_mirrored": self.mirrored.to_dict()},
            "constant": list(self.constant),
            "bad": [{"place": place, "reason": reason} for place, reason in self.bad],
        }


def audit(images: ImageSet) -> Audit:
    """Count and compare the images of a set.

    Images are compared by the sha256 of their pixels; the mirrored ones by that of the lesser of an image
    and its mirror image. Constant images are groups like any other.

    Parameters
    ----------
    images : ImageSet

    Returns
    -------
    Audit

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    >>> X[1], X[2] = X[0], X[0, :, ::-1]
    >>> found = audit(ImageSet.from_arrays(X, ["a", "b", "a", "b"]))
    >>> [group.ids for group in found.exact.groups], found.mirrored.surplus, len(found.exact.contradicting)
    ([('row 1', 'row 2')], 2, 1)
    """
    n, height, width, channels = images.shape
    exact: list[bytes] = []
    mirrored: list[bytes] = []
    constant: list[npt.NDArray[np.bool_]] = [np.empty(0, dtype=np.bool_)]
    size = max(1, _CHUNK_BYTES // (height * width * channels))
    for start in range(0, n, size):
        rows = images.pixel_rows[start : start + size]
        pixels = images.pixels[rows]
        flipped = np.ascontiguousarray(pixels[:, :, ::-1])
        for one, other in zip(pixels, flipped, strict=True):
            digest = hashlib.sha256(one.data).digest()
            exact.append(digest)
            # The lesser of two digests stands for both images just as well as the lesser of their bytes.
            mirrored.append(min(digest, hashlib.sha256(other.data).digest()))
        constant.append((pixels == pixels[:, :1, :1]).all(axis=(1, 2, 3)))
    labels = np.asarray(images.classes, dtype=np.str_)[images.y]
    counts = {
        name: dict(
            zip(
                images.classes,
                np.bincount(images[name].y, minlength=len(images.classes)).tolist(),
                strict=True,
            )
        )
        for name in images.split_names
    }
    return Audit(
        source=images.source,
        n_images=n,
        shape=(height, width, channels),
        counts=counts,
        exact=_groups(exact, images, labels),
        mirrored=_groups(mirrored, images, labels),
        constant=tuple(images.ids[np.concatenate(constant)].tolist()),
        bad=tuple((one.place, one.reason) for one in images.bad),
    )


def _groups(digests: Sequence[bytes], images: ImageSet, labels: npt.NDArray[np.str_]) -> Duplicates:
    members: dict[bytes, list[int]] = {}
    for row, digest in enumerate(digests):
        members.setdefault(digest, []).append(row)
    return Duplicates(
        tuple(
            Group(
                ids=tuple(images.ids[rows].tolist()),
                labels=tuple(labels[rows].tolist()),
                splits=tuple(images.splits[rows].tolist()),
            )
            for rows in members.values()
            if len(rows) > 1
        )
    )
