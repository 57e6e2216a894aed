"""Image files that a user names: single ones, folders, zip archives, lists; their pixels and predictions.

Everything is a stream: a folder of a million images needs the memory of a few.
"""

from __future__ import annotations

import functools
import logging
import os
import stat
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from cnnboost.cluster.connection import check_paths, check_versions
from cnnboost.cluster.tasks import spread
from cnnboost.deploy.graph_file import GraphFile
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import DataError
from cnnboost.escape import counted
from cnnboost.faces.detector import DETECTOR
from cnnboost.faces.face import Face
from cnnboost.faces.find import Finder, Found
from cnnboost.files import reason_of
from cnnboost.images.archive import ZipTree
from cnnboost.images.decode import InputSpec, bad_input, decode_image
from cnnboost.images.kinds import HEAD, is_picture, kind_of, named_as_image
from cnnboost.images.pool import Batch, attempts, decode_all, why_not, work_ahead
from cnnboost.images.tree import (
    MAX_FILE_BYTES,
    head_of,
    looks_like_image,
    read_image_file,
    scan,
)

log = logging.getLogger("cnnboost")

STDIN = "-"
#: First bytes of images, and of few paths: more lines are read where stdin begins with one of these.
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM", b"II", b"MM", b"P", b"\0", b"8BPS")


#: Files whose faces are looked for at a time: photographs are large, and each may hold many.
_PHOTOGRAPHS = 8
#: Faces that are predicted at a time, or more, as long as there are any: eight at a time take a third longer.
_FACES = 64
_BATCH = 256
"""Image files of a task of a cluster."""


class ImageFile(NamedTuple):
    """One file that is taken for an image."""

    path: str
    read: Callable[[], bytes]


class Prediction(NamedTuple):
    """One image file, or one face of it, and its most probable class; or why there is none.

    An image in which faces were looked for and none was found has neither a label nor an error. The faces of
    an image follow each other; `nth` counts them from 0.
    """

    path: str
    label: str | None
    probabilities: np.ndarray | None
    error: str | None
    face: Face | None = None
    nth: int = 0


def predict_files(
    predictor: Predictor,
    files: Iterable[ImageFile],
    *,
    threads: int | None = None,
    faces: Literal["never", "large", "always"] = "never",
) -> Generator[Prediction, None, None]:
    """Predict image files of any size and mode; a bad one gets an error, the others a prediction.

    With `faces`, each face of a picture gets a prediction of its own: of every picture, or of those that are
    too large to be a crop, see `cnnboost.faces.find.Finder`.
    """
    if faces != "never":
        yield from _predict_found(predictor, files, threads, always=faces == "always")
        return
    with closing(decode_files(files, predictor.input, threads=threads)) as batches:
        for batch in batches:
            rows = iter(predictor.predict_proba(batch.pixels) if len(batch.pixels) else ())
            for file, error in zip(batch.items, batch.errors, strict=True):
                if error is None:
                    row = next(rows)
                    yield Prediction(file.path, predictor.names[row.argmax()], row, None)
                else:
                    yield Prediction(file.path, None, None, error)


def _predict_found(
    predictor: Predictor, files: Iterable[ImageFile], threads: int | None, *, always: bool
) -> Generator[Prediction, None, None]:
    """Predict the faces of image files; those of a few files at a time."""
    finder = Finder(predictor.input, always=always)

    def look(chunk: list[ImageFile], stop: threading.Event) -> list[tuple[str, list[Found] | str]]:
        looked = attempts(chunk, lambda file: finder.look(file.read(), file.path), stop)
        return [(file.path, found if isinstance(found, list) else why_not(found)) for file, found in looked]

    with closing(work_ahead(files, look, _PHOTOGRAPHS, threads)) as looked:
        for results in _together(looked):
            crops = [one.pixels for _, found in results if not isinstance(found, str) for one in found]
            rows = iter(predictor.predict_proba(np.stack(crops)) if crops else ())
            for path, found in results:
                if isinstance(found, str):
                    yield Prediction(path, None, None, found)
                elif not found:
                    yield Prediction(path, None, None, None)
                else:
                    for nth, one in enumerate(found):
                        row = next(rows)
                        yield Prediction(path, predictor.names[row.argmax()], row, None, one.face, nth)


def _together(
    looked: Iterable[list[tuple[str, list[Found] | str]]],
) -> Iterator[list[tuple[str, list[Found] | str]]]:
    """Put photographs together until they hold enough faces for the network to work at its best."""
    results: list[tuple[str, list[Found] | str]] = []
    for more in looked:
        results += more
        n_faces = sum(len(found) for _, found in results if not isinstance(found, str))
        if n_faces >= _FACES or len(results) >= _BATCH:
            yield results
            results = []
    yield results


def predict_on_cluster(
    client: Any,
    predictor: Predictor,
    files: Iterable[ImageFile],
    paths: Sequence[str] = (),
    *,
    faces: Literal["never", "large", "always"] = "never",
) -> Generator[Prediction, None, None]:
    """Do what `predict_files` does, in the same order, on workers of a cluster.

    They must see `paths`, in which the images are, and the file that `predictor` was loaded from.
    """
    model = predictor.file
    check_versions(client, {} if faces == "never" else DETECTOR)
    check_paths(client, [model.path, *map(Path, paths)])
    remaining = iter(files)
    tasks = ((model, batch, faces) for batch in iter(lambda: list(islice(remaining, _BATCH)), []))
    with closing(spread(client, predictions, tasks, what="predictions", ordered=True)) as spreading:
        for _, rows in spreading:
            yield from rows


def predictions(
    model: GraphFile, files: Sequence[ImageFile], faces: Literal["never", "large", "always"]
) -> list[Prediction]:
    """Predict some image files, on one thread: a task of a worker."""
    return list(predict_files(_opened(model), files, threads=1, faces=faces))


@functools.lru_cache(maxsize=2)
def _opened(model: GraphFile) -> Predictor:
    return Predictor(model.read(), threads=1, place=str(model.path))


def decode_files(
    files: Iterable[ImageFile], spec: InputSpec, *, threads: int | None = None
) -> Generator[Batch[ImageFile], None, None]:
    """Decode image files on all cores, ahead of their use."""
    return decode_all(files, lambda file: decode_image(file.read(), spec, file.path), spec, threads)


def find_images(paths: Iterable[str], stdin: Iterable[bytes] = ()) -> Iterator[ImageFile]:
    """Find the images that paths name; `-` is one image, or a list of paths, on stdin."""
    others: Counter[str] = Counter()
    for path in paths:
        if path != STDIN:
            yield from _find(path, others)
            continue
        image, lines = _image_or_lines(stdin)
        if image is not None:
            yield image
        for line in lines:
            name = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape").removeprefix("\ufeff")
            if name.strip():
                yield from _find(name, others)
    for place, count in others.items():
        left_out = counted(count, "file that is not an image", "files that are not images")
        log.info("%s: left out %s", place, left_out)


def _image_or_lines(stdin: Iterable[bytes]) -> tuple[ImageFile | None, Iterator[bytes]]:
    """Tell an image on stdin from a list of paths; of a list, no more is read than necessary."""
    lines = iter(stdin)
    read: list[bytes] = []
    size = 0
    for line in lines:
        read.append(line)
        size += len(line)
        if size >= HEAD or not b"".join(read).startswith(_BEGINNINGS):
            break
    head = b"".join(read)
    is_path = head[:2] in (b"P5", b"P6") and os.path.exists(read[0].rstrip(b"\r\n"))  # noqa: PTH110 - bytes
    if not head or is_path or not (is_picture(head) or (b"\0" in head[:HEAD] and kind_of(head[:HEAD]))):
        return None, chain(read, lines)
    for line in lines:
        if size > MAX_FILE_BYTES:
            reason = f"is larger than {MAX_FILE_BYTES} bytes, the limit for one image"
            return _unusable(STDIN, reason), iter(())
        read.append(line)
        size += len(line)
    content = b"".join(read)
    return ImageFile(STDIN, partial(bytes, content)), iter(())


def _find(path: str, others: Counter[str]) -> Iterator[ImageFile]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - for Path, the empty name is the current folder
        if stat.S_ISDIR(mode):
            yield from _in_folder(path, others)
        elif path.lower().endswith(".zip"):
            yield from _in_archive(path, others)
        else:
            yield _file(path)
    except FileNotFoundError:
        yield _unusable(path, "does not exist")
    except DataError as error:
        yield _unusable(path, str(error).removeprefix(f"{path}: "))
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        yield _unusable(path, f"cannot be read ({reason_of(error)})")


def _in_folder(root: str, others: Counter[str]) -> Iterator[ImageFile]:
    for folder in scan(root):
        if folder.error is not None:
            yield _unusable(folder.path, f"cannot be read ({reason_of(folder.error)})")
        for entry in folder.files:
            if named_as_image(entry.name) or is_picture(head_of(entry.path)):
                yield _file(entry.path)
            else:
                others[root] += 1


def _in_archive(path: str, others: Counter[str]) -> Iterator[ImageFile]:
    tree = ZipTree(Path(path))
    for bad in tree.bad:
        yield _unusable(f"{path}/{bad.place}", bad.reason)
    for member in tree.files:
        if looks_like_image(tree, member):
            yield ImageFile(f"{path}/{member}", partial(tree.read, member))
        else:
            others[path] += 1


def _file(path: str) -> ImageFile:
    # Another process may read it, whose current folder is another one.
    return ImageFile(path, partial(read_image_file, os.path.abspath(path), path))  # noqa: PTH100 - may be bytes


def _unusable(path: str, reason: str) -> ImageFile:
    return ImageFile(path, partial(_refuse, path, reason))


def _refuse(path: str, reason: str) -> bytes:
    raise bad_input(path, reason)
