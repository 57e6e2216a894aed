"""Files behind URLs, through fsspec: `s3://`, `gs://`, `http://` and what else it has a package for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cnnboost.errors import BadInput, DataError
from cnnboost.images.decode import bad_input
from cnnboost.images.kinds import HEAD
from cnnboost.images.tree import MAX_FILE_BYTES, head_of, is_ignored, read_image_file

THREADS = 16
"""Files that are read at a time: most of that time is spent waiting."""
_WAITS = (0.2, 1.0)
"""Seconds before another attempt at a file whose server stumbled."""
_TAGS = ("ETag", "etag", "md5Hash", "crc32c", "content_md5", "checksum")
"""Under which file systems state what changes with the content of a file."""


def is_url(name: str) -> bool:
    """Tell a URL from a path."""
    return "://" in name


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise DataError(f"{url}: to read URLs takes fsspec: pip install 'cnnboost[remote]'") from error
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DataError(f"{url}: to read it takes another package: {error}") from error
    except ValueError as error:
        raise DataError(f"{url}: no file system for this kind of URL ({error})") from error


class RemoteTree:
    """Files by name, each at a URL or a path; nothing is read before it is asked for."""

    def __init__(self, name: str, places: Mapping[str, str], tags: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.files = sorted(places)
        self.bad: list[BadInput] = []
        self.same: list[tuple[str, str]] = []
        self._places, self._tags = dict(places), dict(tags or {})
        folders = {file.rpartition("/")[0] for file in self.files}
        for folder in list(folders):
            while folder := folder.rpartition("/")[0]:
                folders.add(folder)
        self.folders = sorted(folders - {""})

    @classmethod
    def below(cls, url: str) -> RemoteTree:
        """List the files below a URL."""
        system, root = file_system(url)
        try:
            found = system.find(root, detail=True)
        except Exception as error:
            raise DataError(f"{url}: cannot be listed ({_reason(error)})") from error
        places, tags = {}, {}
        for path, info in found.items():
            name = path.removeprefix(root).lstrip("/")
            if name and not is_ignored(name):
                places[name] = system.unstrip_protocol(path)
                if tag := _tag(info):
                    tags[name] = tag
        return cls(url, places, tags)

    def read(self, path: str) -> bytes:
        """Return the content of one file."""
        return fetch(self._places[path], path)

    def head(self, path: str) -> bytes:
        """Return the first bytes of one file."""
        place = self._places[path]
        return fetch(place, path)[:HEAD] if is_url(place) else head_of(place)

    def content(self) -> str:
        """Return a sha256 over names and contents, or what stands for the contents where they lie."""

        def line(name: str) -> bytes:
            tag = self._tags.get(name) or _content(self._places[name])
            return f"{tag} {name!r}\n".encode()

        whole = hashlib.sha256()
        with ThreadPoolExecutor(THREADS) as pool:
            for found in pool.map(line, self.files):
                whole.update(found)
        return whole.hexdigest()


def fetch(place: str, name: str) -> bytes:
    """Return the content of a file that should be an image; `DataError` where it cannot be one."""
    if not is_url(place):
        return read_image_file(place, name)
    system, path = file_system(place)
    for wait in (*_WAITS, None):
        try:
            data = bytes(system.cat_file(path))
            break
        except (FileNotFoundError, PermissionError) as error:
            what = "does not exist" if isinstance(error, FileNotFoundError) else "may not be read"
            raise bad_input(name, what) from error
        except Exception as error:
            # Whatever a file system raises about a file is about that file.
            if wait is None:
                raise bad_input(name, f"cannot be read ({_reason(error)})") from error
            time.sleep(wait)
    if len(data) > MAX_FILE_BYTES:
        raise bad_input(name, f"is larger than {MAX_FILE_BYTES:,} bytes, the limit")
    return data


def read_text(place: str) -> str:
    """Return the content of a text file at a URL."""
    try:
        return fetch(place, place).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: is not UTF-8 text; a list of images has one on each line") from error


def _content(place: str) -> str:
    """Return what stands for the content of a file."""
    try:
        if is_url(place):
            system, path = file_system(place)
            if tag := _tag(system.info(path)):
                return tag
        return hashlib.sha256(fetch(place, place)).hexdigest()
    except (DataError, OSError) as error:  # named when it is decoded; here it must not look like content
        return f"unreadable {type(error).__name__}"


def _tag(info: Mapping[str, Any]) -> str | None:
    tag = next((info[name] for name in _TAGS if info.get(name)), None)
    return None if tag is None else f"{tag} {info.get('size')}"


def _reason(error: Exception) -> str:
    """Say in one line what a file system raised."""
    status = getattr(error, "status", None)
    text = f"status {status}" if status else " ".join(str(error).split())
    return f"{text or type(error).__name__}"[:200]


def common_names(places: Sequence[str]) -> list[str]:
    """Name files by what is below the folder that they have in common."""
    folders = [place.rpartition("/")[0].split("/") for place in places]
    shared = 0
    for steps in zip(*folders, strict=False):
        if len(set(steps)) > 1:
            break
        shared += 1
    return ["/".join(place.split("/")[shared:]) for place in places]
