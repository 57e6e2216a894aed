"""From a source to an image set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from cnnboost.errors import BadInput, DataError
from cnnboost.files import digest_of
from cnnboost.images.cache import Rows, cache_folder, cached_set, is_cached, write_to_memory
from cnnboost.images.decode import bad_images
from cnnboost.images.imageset import ImageSet
from cnnboost.images.notes import known_bad_rows
from cnnboost.images.source import Progress, Source
from cnnboost.images.streamed import StreamedPixels
from cnnboost.urls import local_path


def load_images(
    source: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    classes: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    binary: str | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    on_bad: Literal["stop", "skip"] = "stop",
    cache: str | os.PathLike[str] | Literal[False] | None = None,
    stream_above: int | None = None,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """Load the images of a source; decoded once, memory-mapped from then on.

    With `stream_above`, a large set is not kept in decoded form: its images are decoded whenever they are
    asked for, and `chunks` of it decodes ahead. The digest of such a set is that of its files, as its pixels
    are not known beforehand: what is made of them, features for instance, has another name in a store than
    what is made of the same images from the cache. A damaged image is found when it is decoded; with
    `on_bad="skip"` all are decoded once before, as it must be known which are left.

    Parameters
    ----------
    source : str or path
        A folder of class folders (with or without split folders around them), a .zip of the same, a csv
        like fer2013.csv, an .npz file, a folder with CIFAR-10's binary batches, or ``"digits"``. With the
        extra ``remote``, also the URL of a folder of class folders, and a .txt or .tsv file with a path or
        URL on each line, and (optional) behind tabs its class and its split.
    size : int or (height, width), optional
        In pixels; every image is resized to it. None is the size of the first image, and an image of
        another size is then a bad one.
    channels : {1, 3}, optional
        Grey or RGB. None is grey if all images are grey, else RGB.
    classes : sequence of str, optional
        The order of the classes: exactly those that are left after `drop`. None is alphabetical.
    drop : sequence of str, default=()
        Classes to leave out.
    binary : str, optional
        Make two classes: this one (1) against the rest (0, named ``not <binary>``).
    validation_fraction : float, default=0.1
        Where the source has no validation split, this share of train becomes it, class by class.
    seed : int, default=0
        For that choice.
    on_bad : {"stop", "skip"}, default="stop"
        What to do about images and rows that cannot be used: raise, or leave them out and list them in
        ``bad``.
    cache : path or False, optional
        Folder for decoded sets; None is ``CNNBOOST_CACHE``, or ``cnnboost`` in the user's cache folder;
        False decodes into memory.
    stream_above : int, optional
        Stream a set that takes more bytes than this when it is decoded, unless it is in the cache already; 0
        streams any.
    n_jobs : int, optional
        Threads; None is one for each core.
    progress : callable, optional
        ``progress(done, total)`` in images, while they are decoded.

    Returns
    -------
    ImageSet

    Raises
    ------
    DataError
        A source that is not there or that nothing reads, bad images (all of them in its ``bad``), a
        class without images, or one that train lacks.
    StoreError
        The disk of the cache is full or cannot be written to.

    Examples
    --------
    >>> images = load_images("digits", cache=False)
    >>> images.shape, images.split_names
    ((1797, 8, 8, 1), ('train', 'validation'))
    >>> len(images.validation), images.classes[:3]
    (180, ('0', '1', '2'))
    """
    if on_bad not in ("stop", "skip"):
        raise ValueError(f"on_bad={on_bad!r}: give 'stop' or 'skip'")
    wanted = _wanted(size, channels)
    source = local_path(os.fspath(source))
    if source.startswith("~") and not os.path.lexists(source):
        source = os.path.expanduser(source)  # noqa: PTH111 - pathlib's fails where there is no such user
    found = Source(source, *wanted, cache_folder(cache or None), n_jobs, progress)
    streamed = None if stream_above is None else _streamed(found, stream_above, on_bad)
    if streamed is not None:
        images = streamed
    elif cache is False:
        images = found.decode(partial(write_to_memory, found.shown))
    else:
        images = cached_set(found.entry, found.shown, found.decode, found.is_unread)
    if images.bad and on_bad == "stop":
        raise bad_images(images.source, images.bad, len(images.bad) + len(images))
    return arranged(images, classes, drop, binary, validation_fraction, seed)


def arranged(
    images: ImageSet,
    classes: Sequence[str] | None,
    drop: Sequence[str],
    binary: str | None,
    validation_fraction: float,
    seed: int,
) -> ImageSet:
    """Give all images of a source the classes and splits that are wanted; see `load_images`."""
    if drop:
        images = images.drop(drop)
    _check_classes(images)
    if classes is not None:
        images = images.with_classes(classes)
    if binary is not None:
        images = images.binary(binary)
    return images.with_validation(validation_fraction, seed) if "train" in images.split_names else images


def _streamed(source: Source, above: int, on_bad: str) -> ImageSet | None:
    """Return a set whose images are decoded when asked for; None for a small one, or a cached one."""
    entry = source.entry
    if is_cached(entry):
        return None
    listing = source.listing
    if len(listing) * int(np.prod(source.spec[0])) <= above:
        return None
    spec = source.spec_of_all()
    resize = source.size is not None
    pixels = StreamedPixels(
        listing, spec, source.name, resize=resize, n_jobs=source.n_jobs, content=entry.name
    )
    rows = Rows(
        y=listing.y,
        classes=listing.classes,
        ids=np.array(listing.ids, dtype=np.str_),
        splits=listing.splits,
        pixels_digest=digest_of(["streamed", entry.name, *spec]),
        bad=listing.bad,
    )
    images = rows.with_pixels(pixels, source.shown)
    if on_bad == "stop":
        return images
    note = entry.with_name(f"{entry.name}.checked.json")
    bad = known_bad_rows(note, len(images), partial(pixels.find_bad, progress=source.progress))
    good = np.ones(len(images), dtype=np.bool_)
    good[list(bad)] = False
    found = [BadInput(listing.ids[row], reason) for row, reason in bad.items()]
    return replace(images.select(good), bad=(*listing.bad, *found))


def _wanted(
    size: int | tuple[int, int] | None, channels: int | None
) -> tuple[tuple[int, int] | None, int | None]:
    if channels not in (None, 1, 3):
        raise ValueError(f"channels={channels!r}: give 1 (grey) or 3 (RGB)")
    if size is None:
        return None, channels
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"size={size!r}: give a number of pixels, or (height, width)")
    return (int(pair[0]), int(pair[1])), channels


def _check_classes(images: ImageSet) -> None:
    counts = np.bincount(images.y, minlength=len(images.classes))
    empty = [name for name, count in zip(images.classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"{images.source}: class {empty[0]!r} has no images"
            + (f" (nor have {', '.join(map(repr, empty[1:]))})" if len(empty) > 1 else "")
            + f"; add some, remove it, or drop it (drop={empty!r})",
            images.bad,
        )
    if "train" not in images.split_names:
        return
    known = set(images.train.labels.tolist())
    for name in images.split_names:
        lacking = sorted(set(images[name].labels.tolist()) - known)
        if lacking:
            first = images[name].ids[images[name].labels == lacking[0]][0]
            raise DataError(
                f"{images.source}: class {lacking[0]!r} is in {name} ({first}) but not in train; add "
                f"images of it to train, or drop it (drop={lacking!r})"
            )
