"""Class folders, with or without split folders, on disk or in a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from cnnboost.errors import BadInput, DataError
from cnnboost.images.archive import ZipTree
from cnnboost.images.decode import InputSpec, decode_image, image_shape
from cnnboost.images.readers.listing import Listing, split_of, split_order, stamp
from cnnboost.images.tree import FileStamp, FolderTree, Tree, walk

_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp"})
_LAYOUT = "put the images into one folder for each class, <class>/<image> or <split>/<class>/<image>"


class FolderReader:
    """A folder of class folders."""

    name = "folder"
    accepts = "a folder of class folders (<class>/<image> or train/<class>/<image>)"

    def matches(self, source: str | Path) -> bool:
        """Tell whether the source is a folder."""
        return Path(source).is_dir()

    def files(self, source: str | Path) -> Iterable[FileStamp]:
        """Return every file below the folder."""
        return walk(Path(source))[0]

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

    Class names are the folders' names in alphabetical order. A folder named train, training, val,
    valid, validation, dev, test or testing is a split; a file name that begins with ``Training_``,
    ``PublicTest_`` or ``PrivateTest_`` is of that split wherever it stands.

    Raises
    ------
    DataError
        No images, or files that do not stand as said above.
    """
    root = _root(tree)
    tops = sorted(
        {folder[len(root) :].partition("/")[0] for folder in tree.folders if folder.startswith(root)}
    )
    split_folders = {top: name for top in tops if (name := split_of(top))}
    depth = 2 if split_folders else 1
    bad = list(tree.bad)
    ids: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    for path in tree.files:
        parts = path[len(root) :].split("/") if path.startswith(root) else []
        if len(parts) <= depth or (split_folders and parts[0] not in split_folders):
            if PurePosixPath(path).suffix.lower() in _IMAGE_SUFFIXES:
                bad.append(BadInput(path, f"stands in no class folder; {_LAYOUT}"))
            continue
        ids.append(path)
        labels.append(parts[depth - 1])
        folder_split = split_folders.get(parts[0], "train")
        splits.append(_prefix_split(parts[-1]) or folder_split)
    class_folders = {
        parts[depth - 1]
        for folder in tree.folders
        if folder.startswith(root)
        and len(parts := folder[len(root) :].split("/")) == depth
        and (not split_folders or parts[0] in split_folders)
    }
    if not ids:
        raise DataError(_nothing_found(tree), bad)
    classes = tuple(sorted(class_folders | set(labels)))
    code = {name: position for position, name in enumerate(classes)}
    order = split_order(splits)
    ids = [ids[row] for row in order]

    def shape(row: int) -> InputSpec:
        return image_shape(tree.read(ids[row]), ids[row])

    def image(row: int, spec: InputSpec, resize: bool) -> np.ndarray:
        path = ids[row]
        return decode_image(tree.read(path), spec, path, resize=resize)

    return Listing(
        ids=ids,
        y=np.array([code[labels[row]] for row in order], dtype=np.int64),
        classes=classes,
        splits=np.array(splits, dtype=np.str_)[order],
        shape=shape,
        image=image,
        bad=tuple(bad),
        close=close,
    )


def _prefix_split(file_name: str) -> str | None:
    prefix, underscore, _ = file_name.partition("_")
    if underscore and prefix.lower() in ("training", "publictest", "privatetest"):
        return split_of(prefix)
    return None


def _root(tree: Tree) -> str:
    """Return the path down to the level where splits or classes stand, past folders that only wrap it."""
    root = ""
    while True:
        below = [folder[len(root) :] for folder in tree.folders if folder.startswith(root)]
        tops = {folder.partition("/")[0] for folder in below}
        if len(tops) != 1:
            return root
        top = tops.pop()
        has_files = any(
            path.startswith(f"{root}{top}/") and "/" not in path[len(root) + len(top) + 1 :]
            for path in tree.files
        )
        if split_of(top) or has_files or not any("/" in folder for folder in below):
            return root
        root += f"{top}/"


def _nothing_found(tree: Tree) -> str:
    data = [path for path in tree.files if path.lower().endswith((".csv", ".npz", ".zip", ".bin"))]
    if data:
        return f"{tree.name}: no class folders with images, but {data[0]}; give that file as the source"
    if tree.files:
        return f"{tree.name}: no class folders with images ({len(tree.files)} other files); {_LAYOUT}"
    return f"{tree.name}: holds no files; {_LAYOUT}"
