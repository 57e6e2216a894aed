"""Class folders, with or without split folders, on disk or in a zip."""

from __future__ import annotations

import logging
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cnnboost.errors import DataError
from cnnboost.escape import counted
from cnnboost.images.archive import ZipTree
from cnnboost.images.kinds import kind_of, named_as_image
from cnnboost.images.pool import n_threads
from cnnboost.images.readers.layout import ADVICE, find_layout
from cnnboost.images.readers.listing import Listing, Reader, split_of, stamp, tree_listing
from cnnboost.images.tree import FolderTree, Tree, looks_like_image

log = logging.getLogger("cnnboost")


def list_tree(tree: Tree, threads: int | None = None) -> Listing:
    """List the images of a tree; so many threads look at its files, where that is mostly waiting.

    Class names are the folders' names in alphabetical order; `find_layout` says which folders are classes
    and which are splits. A file name that begins with ``Training_``, ``PublicTest_`` or ``PrivateTest_`` is
    of that split in whatever folder it is. Files that are not images, by name or by their first bytes, are
    left out.
    """
    unnamed = [path for path in tree.files if not named_as_image(path)]
    with ThreadPoolExecutor(n_threads(threads)) as pool:
        are_images = pool.map(partial(looks_like_image, tree), unnamed)
        others = [path for path, is_image in zip(unnamed, are_images, strict=True) if not is_image]
    left_out = set(others)
    images = [path for path in tree.files if path not in left_out]
    if not images:
        raise DataError(_no_images(tree), tree.bad)
    layout = find_layout(tree.name, images, others, tree.folders)
    for note in layout.notes:
        log.info("%s: %s", tree.name, note)
    if others:
        shown = counted(len(others), "file that is not an image", "files that are not images")
        log.info("%s: left out %s, e.g. %s", tree.name, shown, others[0])
    if tree.same:
        log.warning(
            "%s: %s and %s are the same folder, through a link (%d such folders): its images are used twice",
            tree.name, *tree.same[0], len(tree.same),
        )  # fmt: skip
    rows = [
        (path, _prefix_split(path.rpartition("/")[2]) or split, label) for path, split, label in layout.rows
    ]
    classes = sorted(layout.empty | {label for _, _, label in rows})
    return tree_listing(tree, rows, classes, bad=(*tree.bad, *layout.outside), threads=threads)


def _prefix_split(file_name: str) -> str | None:
    prefix, underscore, _ = file_name.lower().partition("_")
    fer2013 = underscore and prefix in ("training", "publictest", "privatetest")
    return split_of(prefix) if fer2013 else None


def _no_images(tree: Tree) -> str:
    """Say why there are no images, and what to do about it."""
    data = [path for path in tree.files if path.lower().endswith((".csv", ".npz", ".zip", ".bin"))]
    if data:
        return f"{tree.name}: no class folders with images, but {data[0]}; give that file as the source"
    for path in tree.files:
        if kind := kind_of(tree.head(path), path):
            return f"{tree.name}: no class folders with images, but {path}, {kind[0]}; {kind[1]}"
    bad = f" ({tree.bad[0].place}: {tree.bad[0].reason})" if tree.bad else ""
    if tree.files:
        return f"{tree.name}: no class folders with images ({len(tree.files)} other files){bad}; {ADVICE}"
    return f"{tree.name}: holds no files{bad}; {ADVICE}"


def _is_zip(source: str) -> bool:
    path = Path(source)
    suffix = path.suffix.lower()
    return path.is_file() and (
        suffix == ".zip" or (suffix not in (".npz", ".keras", ".csv") and zipfile.is_zipfile(path))
    )


FOLDER = Reader(
    "folder",
    "a folder of class folders (<class>/<image> or train/<class>/<image>)",
    lambda source: Path(source).is_dir(),
    lambda source: FolderTree(Path(source)).stamps,
    lambda source: list_tree(FolderTree(Path(source))),
)
ZIP = Reader(
    FOLDER.name,  # the same images whether they are packed or not
    "a .zip archive of class folders",
    _is_zip,
    lambda source: [stamp(Path(source), "")],
    lambda source: list_tree(ZipTree(Path(source))),
)
