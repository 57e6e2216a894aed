"""Class folders, with or without split folders, on disk or in a zip."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from cnnboost.errors import DataError
from cnnboost.images.archive import ZipTree
from cnnboost.images.decode import InputSpec, decode_image, image_shape
from cnnboost.images.kinds import kind_of
from cnnboost.images.readers.layout import ADVICE, find_layout
from cnnboost.images.readers.listing import Listing, split_of, split_order, stamp
from cnnboost.images.tree import FileStamp, FolderTree, Tree, looks_like_image, walk

log = logging.getLogger("cnnboost")


class FolderReader:
    """A folder of class folders."""

    name = "folder"
    accepts = "a folder of class folders (<class>/<image> or train/<class>/<image>)"

    def matches(self, source: str | Path) -> bool:
        """Tell whether the source is a folder."""
        return Path(source).is_dir()

    def files(self, source: str | Path) -> Iterable[FileStamp]:
        """Return every file below the folder."""
        return walk(Path(source)).files

    def read(self, source: str | Path) -> Listing:
        """List the images."""
        return list_tree(FolderTree(Path(source)))


class ZipReader:
    """The same in a zip archive, read in place."""

    name = "folder"  # the same images whether they are packed or not
    accepts = "a .zip archive of class folders"

    def matches(self, source: str | Path) -> bool:
        """Tell whether the source is a zip archive."""
        path = Path(source)
        return path.is_file() and (path.suffix.lower() == ".zip" or _is_plain_zip(path))

    def files(self, source: str | Path) -> Iterable[FileStamp]:
        """Return the archive itself."""
        return [stamp(Path(source), "")]

    def read(self, source: str | Path) -> Listing:
        """List the images."""
        tree = ZipTree(Path(source))
        try:
            return list_tree(tree, tree.close)
        except BaseException:
            tree.close()
            raise


def _is_plain_zip(path: Path) -> bool:
    return path.suffix.lower() not in (".npz", ".keras", ".csv") and zipfile.is_zipfile(path)


def list_tree(tree: Tree, close: Callable[[], None] = lambda: None) -> Listing:
    """List the images of a tree.

    Class names are the folders' names in alphabetical order; `find_layout` says which folders are classes
    and which are splits. A file name that begins with ``Training_``, ``PublicTest_`` or ``PrivateTest_`` is
    of that split wherever it stands. Files that are not images, by name or by their first bytes, are left
    out.
    """
    images: list[str] = []
    others: list[str] = []
    for path in tree.files:
        (images if looks_like_image(tree, path) else others).append(path)
    if not images:
        raise DataError(_nothing_found(tree), tree.bad)
    layout = find_layout(tree.name, images, others, tree.folders)
    for note in layout.notes:
        log.info("%s: %s", tree.name, note)
    if others:
        log.info("%s: left out %d files that are not images, e.g. %s", tree.name, len(others), others[0])
    if tree.same:
        log.warning(
            "%s: %s and %s are the same folder, through a link (%d such folders): its images are used twice",
            tree.name, *tree.same[0], len(tree.same),
        )  # fmt: skip
    splits = [_prefix_split(path.rpartition("/")[2]) or split for path, split, _ in layout.rows]
    order = split_order(splits)
    ids = [layout.rows[row][0] for row in order]
    classes = tuple(sorted(layout.empty | {label for _, _, label in layout.rows}))
    code = {name: position for position, name in enumerate(classes)}

    def shape(row: int) -> InputSpec:
        return image_shape(tree.read(ids[row]), ids[row])

    def image(row: int, spec: InputSpec, resize: bool, *, colour: bool = True) -> np.ndarray:
        path = ids[row]
        return decode_image(tree.read(path), spec, path, resize=resize, colour=colour)

    return Listing(
        ids=ids,
        y=np.array([code[layout.rows[row][2]] for row in order], dtype=np.int64),
        classes=classes,
        splits=np.array(splits, dtype=np.str_)[order],
        shape=shape,
        image=image,
        image_if_grey=partial(image, colour=False),
        bad=(*tree.bad, *layout.outside),
        close=close,
    )


def _prefix_split(file_name: str) -> str | None:
    prefix, underscore, _ = file_name.partition("_")
    if underscore and prefix.lower() in ("training", "publictest", "privatetest"):
        return split_of(prefix)
    return None


def _nothing_found(tree: Tree) -> str:
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
