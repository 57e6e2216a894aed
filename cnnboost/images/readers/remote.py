"""Images behind URLs: a folder that can be listed, or a list with one image on each line."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cnnboost.errors import DataError
from cnnboost.files import digest_of, read_regular
from cnnboost.images.readers.folder import FOLDER, list_tree
from cnnboost.images.readers.listing import Listing, Reader, split_of, tree_listing
from cnnboost.images.remote import THREADS, RemoteTree, read_text
from cnnboost.urls import is_absolute, is_url, local_path, without_query, without_secrets

_SUFFIXES = (".txt", ".tsv")
_FORM = "<path or URL>, or <path or URL><tab><class>, or <path or URL><tab><class><tab><split>"


class _Line(NamedTuple):
    number: int
    place: str
    label: str
    split: str


def _is_list(source: str) -> bool:
    is_file = is_url(source) or Path(source).is_file()
    return is_file and without_query(source).lower().endswith(_SUFFIXES)


def _lines(source: str) -> list[_Line]:
    """Read a list; places in it may be relative to the folder of the list."""
    if is_url(source):
        text, folder = read_text(source), without_query(source).rpartition("/")[0]
    else:
        try:
            text = read_regular(source).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{source}: is not UTF-8 text; a list of images has one on each line") from error
        folder = str(Path(source).absolute().parent)
    at_url, source = is_url(source), without_secrets(source)
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        place, *more = (cell.strip() for cell in line.split("\t"))
        label, split = [*more, "", ""][:2]
        if not place or len(more) > 2 or (more and not label):
            raise DataError(
                f"{source}: line {number} ({without_secrets(line)[:80]!r}) is not of the form {_FORM}"
            )
        if split and split_of(split) is None:
            raise DataError(f"{source}: line {number} has the split {split!r}; use train, validation or test")
        if at_url and is_absolute(place):
            raise DataError(
                f"{source}: line {number} names {place!r}, a file of the machine that reads the list; a list "
                "at a URL may name URLs, and paths relative to itself"
            )
        place = local_path(place)
        if not is_url(place) and not posixpath.isabs(place):
            place = f"{folder}/{place}"
        lines.append(_Line(number, place, label, split_of(split) or "train"))
    if not lines:
        raise DataError(f"{source}: names no images; each line is {_FORM}")
    seen: dict[str, int] = {}
    for one in lines:
        first = seen.setdefault(one.place, one.number)
        if first != one.number:
            raise DataError(
                f"{source}: {without_secrets(one.place)} is on line {first} and on line {one.number}"
            )
        if bool(one.label) != bool(lines[0].label):
            raise DataError(
                f"{source}: line {one.number} names {'a' if one.label else 'no'} class and line "
                f"{lines[0].number} {'one' if lines[0].label else 'none'}; name one for each image, or for "
                "none where folders are the classes"
            )
    return lines


def _list_tree_of(source: str) -> tuple[RemoteTree, list[_Line], list[str], str]:
    """Return the files that a list names, its lines, the names of their files, and what these are below."""
    lines = _lines(source)
    below, names = "", _names(lines)
    if not lines[0].label:
        below, names = _common_folder(names)
    places = {name: line.place for name, line in zip(names, lines, strict=True)}
    return RemoteTree(without_secrets(source), places), lines, names, below


def _common_folder(places: Sequence[str]) -> tuple[str, list[str]]:
    """Return the folder that files have in common, and their names below it."""
    folders = [place.rpartition("/")[0].split("/") for place in places]
    shared = 0
    for steps in zip(*folders, strict=False):
        if len(set(steps)) > 1:
            break
        shared += 1
    return "/".join(folders[0][:shared]), ["/".join(place.split("/")[shared:]) for place in places]


def _names(lines: list[_Line]) -> list[str]:
    """Name lines by their places without signatures; those that only a query tells apart, by their number."""
    names = [without_secrets(line.place) for line in lines]
    times = Counter(names)
    return [
        name if times[name] == 1 else f"{name} (line {line.number})"
        for name, line in zip(names, lines, strict=True)
    ]


def _read_list(source: str) -> Listing:
    tree, lines, names, below = _list_tree_of(source)
    if not lines[0].label:
        return replace(list_tree(tree, THREADS), below=below)
    rows = [(name, line.split, line.label) for name, line in zip(names, lines, strict=True)]
    return tree_listing(tree, rows, sorted({line.label for line in lines}), threads=THREADS)


def _list_content(source: str) -> str:
    tree, lines, _, _ = _list_tree_of(source)
    return digest_of([tree.content(), [(line.label, line.split) for line in lines]])


def _below(source: str) -> RemoteTree:
    if without_query(source).lower().endswith((".zip", ".csv", ".npz")):
        raise DataError(
            f"{without_secrets(source)}: archives and tables are read from the disk; download it, and give "
            "the file"
        )
    return RemoteTree.below(source)


LIST = Reader(
    "list",
    "a .txt or .tsv list of images, a path or URL on each line",
    _is_list,
    lambda source: [],
    _read_list,
    _list_content,
)
REMOTE = Reader(
    FOLDER.name,
    "a URL of a folder of class folders (s3://, gs://, http://)",
    is_url,
    lambda source: [],
    lambda source: list_tree(_below(source), THREADS),
    lambda source: _below(source).content(),
)
