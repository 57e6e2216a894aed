"""At which level of a folder the splits and the classes are."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from cnnboost.errors import BadInput, DataError
from cnnboost.images.readers.listing import SPLIT_WORDS, split_of

ADVICE = "put the images into one folder for each class, <class>/<image> or <split>/<class>/<image>"
_AS_CLASSES = "put them all into one folder called 'train'"
_AS_SPLITS = "name the folders train, validation and test, with a folder for each class in them"
# What is written before or behind a split word and means nothing: training_set, images_train, "train (1)".
_FILLER = r"(?:sets?|data|datasets?|images?|imgs?|pictures|pics|photos|files|folder|dir|split|samples|copy)*"
_SPLIT_NAME = re.compile(rf"{_FILLER}({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))}){_FILLER}")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_a-zA-Z]+")
_SHOWN = 4
_DEEPEST = 100


class Layout(NamedTuple):
    """Which images are used, and as what."""

    rows: list[tuple[str, str, str]]
    empty: set[str]
    outside: list[BadInput]
    notes: list[str]


@dataclass(eq=False)
class _Node:
    name: str
    path: str
    images: list[str] = field(default_factory=list)
    below: dict[str, _Node] = field(default_factory=dict)
    used: bool = False  # whether it holds a file of any sort, at any depth

    @property
    def full(self) -> list[_Node]:
        """The folders in it that hold images, at any depth."""
        return [node for node in self.below.values() if node.images or node.full]

    def all_images(self) -> list[str]:
        return [*self.images, *(path for node in self.below.values() for path in node.all_images())]


def folder_split(name: str) -> str | None:
    """Return the split that a folder's name means by itself."""
    match = _SPLIT_NAME.fullmatch(re.sub(r"[\W\d_]+", "", name).lower())
    return split_of(match[1]) if match else None


def class_name(folder: str) -> str:
    r"""Return a folder's name as a class is called: composed letters, bytes that are not UTF-8 escaped."""
    text = folder.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def find_layout(name: str, images: Sequence[str], others: Iterable[str], folders: Collection[str]) -> Layout:
    """Find out which folders are splits and which are classes.

    Files that are not images play no part. Folders that only wrap others are passed. A folder is a split by
    its name, with the likes of ``_set`` or ``images_`` around it, or any other word that is the same for all
    splits (``seg_train``, ``seg_test``), if its classes are in it; else it is a class like its neighbours.
    ``<class>/<split>`` is understood too.
    """
    level = _nodes(images, others, folders)
    while (only := _only(level)) and (folder_split(only.name) is None or _proven(only.full)):
        level = only
    tops = level.full
    if not tops:
        raise DataError(f"{name}: holds images, but no folders for their classes; {ADVICE}")
    notes: list[str] = []
    splits = _splits(name, tops)
    if splits:
        bases = {top: _base(top, splits) for top in splits}
        groups = [(kid, splits[top], kid.name) for top, base in bases.items() for kid in base.full]
        empty = [kid for base in bases.values() for kid in base.below.values() if not kid.used]
        for base in bases.values():
            _check_level(name, base.full, reversible=False)
        for split in sorted(set(splits.values())):
            parts = [top.name for top, of in splits.items() if of == split]
            if len(parts) > 1:
                notes.append(f"{split} is made of the folders {_list(parts)}")
        notes += [f"the folder {node.path} is empty" for node in level.below.values() if not node.used]
    elif _check_level(name, tops, reversible=True):  # <class>/<split>
        groups = [(kid, folder_split(kid.name) or "train", top.name) for top in tops for kid in top.full]
        empty = []
    else:
        groups = [(top, "train", top.name) for top in tops]
        empty = [node for node in level.below.values() if not node.used]
    rows = sorted(
        (path, split, class_name(label)) for node, split, label in groups for path in node.all_images()
    )
    _check_spelling(name, rows)
    if deep := [node.path for node, _, _ in groups if node.full]:
        notes.append(f"images in folders below a class folder are of that class: {_list(deep)}")
    used = {path for path, _, _ in rows}
    beside = f" (splits are {_list(top.name for top in splits)})" if splits else ""
    reason = f"is in no class folder{beside}; {ADVICE}"
    outside = [BadInput(path, reason) for path in images if path not in used]
    return Layout(rows, {class_name(node.name) for node in empty}, outside, notes)


def _nodes(images: Sequence[str], others: Iterable[str], folders: Collection[str]) -> _Node:
    """Return the root of the folders."""
    known = {"": _Node("", "")}

    def node(path: str) -> _Node:
        if path not in known:
            parent, _, name = path.rpartition("/")
            known[path] = node(parent).below.setdefault(name, _Node(name, path))
        return known[path]

    for folder in folders:
        if folder.count("/") >= _DEEPEST:
            raise DataError(f"{folder[:40]}...: is more than {_DEEPEST} folders deep; {ADVICE}")
        node(folder)
    for path in images:
        node(path.rpartition("/")[0]).images.append(path)
    for path in {path.rpartition("/")[0] for path in (*images, *others)}:
        while path and not node(path).used:
            node(path).used = True
            path = path.rpartition("/")[0]
    return known[""]


def _only(level: _Node) -> _Node | None:
    """Return the one folder that holds images, if it only wraps others."""
    tops = level.full
    return tops[0] if len(tops) == 1 and tops[0].full and not tops[0].images else None


def _proven(tops: Sequence[_Node]) -> bool:
    """Tell whether folders are splits by their names, and have folders for classes in them."""
    names = {folder_split(top.name) for top in tops}
    return None not in names and len(names) > 1 and any(top.full for top in tops)


def _splits(name: str, tops: Sequence[_Node]) -> dict[_Node, str]:
    """Return those folders that are splits; none where all of them are classes."""
    splits = {top: split for top in tops if (split := folder_split(top.name))}
    splits |= _prefixed([top for top in tops if top not in splits])
    rest = [top for top in tops if top not in splits]
    if not splits:
        return {}
    several = len(set(splits.values())) > 1
    if not any(top.full for top in splits):
        if rest and not several:
            return {}  # a class may be called train, test or valid
        _unclear(
            name,
            f"{_list(top.name for top in splits)} would be splits by name, but no class folders are in them",
            f"if these are classes, {_AS_CLASSES}; if these are splits, {_AS_SPLITS}",
        )
    proven = several and _shared([_base(top, splits) for top in splits])
    if not proven and any(_base(top, ()).full for top in rest):
        _unclear(
            name,
            f"by their names {_list(top.name for top in splits)} would be splits, but not the folders beside "
            f"them, {_list(top.name for top in rest)}, which hold folders with images too",
            f"if all of them are classes, {_AS_CLASSES}; if all of them are splits, {_AS_SPLITS}; if some "
            "are neither, move them away",
        )
    return splits


def _prefixed(tops: Sequence[_Node]) -> dict[_Node, str]:
    """Find splits that have a word of their own in common: seg_train and seg_test, but not steam_train."""
    groups: dict[tuple[str, ...], dict[_Node, str]] = {}
    for top in tops:
        words = [word.lower() for word in _WORDS.findall(top.name)]
        marks = [word for word in words if folder_split(word)]
        if len(marks) == 1 and top.full and not top.images:
            rest = tuple(word for word in words if word != marks[0])
            groups.setdefault(rest, {})[top] = folder_split(marks[0]) or ""
    return {top: of for group in groups.values() if len(set(group.values())) > 1 for top, of in group.items()}


def _base(top: _Node, splits: Collection[_Node]) -> _Node:
    """Pass folders that only wrap the classes of a split (seg_train/seg_train/<class>)."""
    elsewhere = {
        kid.name for other in splits if other is not top and _only(other) is None for kid in other.full
    }
    while (only := _only(top)) and only.name not in elsewhere:
        top = only
    return top


def _shared(nodes: Sequence[_Node]) -> list[str]:
    """Return the names of folders that are in more than one of these folders."""
    names = Counter(class_name(kid.name).casefold() for node in nodes for kid in node.full)
    return [name for name, count in names.items() if count > 1]


def _check_level(name: str, kids: Sequence[_Node], *, reversible: bool) -> bool:
    """Stop where class folders hold what looks like the classes; tell whether they hold their splits."""
    nested = [kid for kid in kids if kid.full and not kid.images]
    inner = {kid.name: folder_split(kid.name) for node in kids for kid in node.full}
    marks = {split for split in inner.values() if split}
    flat = not any(one.full for kid in kids for one in kid.full)
    if reversible and flat and len(nested) == len(kids) > 1 and None not in inner.values():
        return True
    names = {kid.name for kid in kids}
    copies = [f"{kid.path}/{one.name}" for kid in kids for one in kid.full if one.name in names - {kid.name}]
    alike = _shared(nested) if 2 * len(nested) >= len(kids) else []
    alike = alike or [label for label in _shared(kids) if folder_split(label)]
    if copies or alike or len(marks) > 1:
        what = copies or sorted(alike or inner)
        _unclear(
            name,
            f"the folders {_list(kid.name for kid in kids)} hold folders of their own: {_list(what)}",
            f"if the classes are {_list(kid.name for kid in kids)}, move the images up into them "
            "(<class>/<image>); if the classes are the folders in them, give one of the outer folders as the "
            f"source, or {_AS_SPLITS}",
        )
    return False


def _check_spelling(name: str, rows: Iterable[tuple[str, str, str]]) -> None:
    """Stop where a class is spelt otherwise in another split; in one split A and a may be two classes."""
    spelt: dict[str, dict[str, set[str]]] = {}
    for split, label in {(split, label) for _, split, label in rows}:
        key = "".join(unicodedata.normalize("NFKC", label).casefold().split())
        spelt.setdefault(key, {}).setdefault(label, set()).add(split)
    for forms in spelt.values():
        if len(forms) > 1 and not set.intersection(*forms.values()):
            raise DataError(
                f"{name}: the class {_list(map(repr, sorted(forms)))} is spelt differently in "
                f"{_list(sorted(set.union(*forms.values())))}; rename its folders so that they are the same"
            )


def _unclear(name: str, seen: str, remedy: str) -> NoReturn:
    raise DataError(
        f"{name}: it is not clear which folders are the classes: {seen}. Say so by the folders: {remedy}"
    )


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
