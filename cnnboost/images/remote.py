"""Files behind URLs, through fsspec: `s3://`, `gs://`, `http://` and what else it has a package for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cnnboost.errors import BadInput, DataError, UnreadError
from cnnboost.images.decode import bad_input
from cnnboost.images.kinds import HEAD
from cnnboost.images.tree import MAX_FILE_BYTES, head_of, is_ignored, read_image_file
from cnnboost.urls import is_url, without_secrets

THREADS = 16
"""Number of files that are read at a time: most of that time is spent waiting."""
PROTOCOLS = (
    *("abfs", "abfss", "adl", "az", "ftp", "gcs", "gs", "hf", "http", "https", "memory"),
    *("s3", "s3a", "sftp", "ssh"),
)
"""What is read. fsspec knows more: files of this machine without a check, archives, caches, references."""
MAX_LIST_BYTES = 1 << 30
"""Bytes of a list of images, at most."""
_ANSWER_SECONDS = 30
"""Seconds for which a server of http may say nothing."""
_WAITS = (0.2, 1.0)
"""Seconds before another attempt at a file whose server stumbled."""
_TAGS = ("ETag", "etag", "md5Hash", "crc32c", "content_md5", "checksum")
"""Under which file systems state what changes with the content of a file."""


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    shown = without_secrets(url)
    protocol, _, rest = url.partition("://")
    protocol = protocol.lower()
    # fsspec reads `a::b` as one file system inside another, some of which follow what is in a file.
    if "::" in url or protocol not in PROTOCOLS:
        what = "a chain of URLs (::)" if "::" in url else f"a URL of the protocol {protocol!r}"
        raise DataError(f"{shown}: is {what}, which is not read; accepted are {', '.join(PROTOCOLS)}")
    try:
        import fsspec
    except ImportError as error:
        raise DataError(f"{shown}: to read URLs takes fsspec: pip install 'cnnboost[remote]'") from error
    try:
        return fsspec.core.url_to_fs(f"{protocol}://{rest}", **_options(protocol))
    except ImportError as error:
        raise DataError(f"{shown}: to read it takes another package: {error}") from error
    except Exception as error:  # no credentials, a host left out: each file system raises what it likes
        raise UnreadError(f"{shown}: cannot be reached ({_reason(error, url)})") from error


def _options(protocol: str) -> dict[str, Any]:
    """Return how a file system is made: aiohttp by itself waits five minutes for a silent server."""
    if protocol not in ("http", "https"):
        return {}
    import aiohttp
    from fsspec.config import conf

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_ANSWER_SECONDS, sock_read=_ANSWER_SECONDS)
    return {"client_kwargs": {"timeout": timeout, **conf.get(protocol, {}).get("client_kwargs", {})}}


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
            raise DataError(f"{without_secrets(url)}: cannot be listed ({_reason(error, url)})") from error
        places, tags = {}, {}
        for path, info in found.items():
            name = path.removeprefix(root).lstrip("/")
            if name and not is_ignored(name):
                places[name] = system.unstrip_protocol(path)
                if tag := _tag(info):
                    tags[name] = tag
        return cls(without_secrets(url), places, tags)

    def read(self, path: str) -> bytes:
        """Return the content of one file."""
        return fetch(self._places[path], path)

    def head(self, path: str) -> bytes:
        """Return the first bytes of one file."""
        place = self._places[path]
        return fetch(place, path, HEAD, whole=False) if is_url(place) else head_of(place)

    def content(self) -> str:
        """Return a sha256 over the names of the files and the checksums of their contents."""

        def line(name: str) -> bytes:
            tag = self._tags.get(name) or _content(self._places[name])
            return f"{tag} {name!r}\n".encode()

        whole = hashlib.sha256()
        with ThreadPoolExecutor(THREADS) as pool:
            for found in pool.map(line, self.files):
                whole.update(found)
        return whole.hexdigest()


def fetch(place: str, name: str, most: int = MAX_FILE_BYTES, *, whole: bool = True) -> bytes:
    """Return a file of `most` bytes or less, or its first ones.

    Parameters
    ----------
    place : str
        A URL, or the path of an image.
    name : str
        What errors call it.
    most : int
        Bytes at a URL.
    whole : bool
        Whether a larger file is an error; otherwise its first `most` bytes are returned.

    Returns
    -------
    bytes

    Raises
    ------
    DataError
        If it cannot be read; `UnreadError` where that may be otherwise the next time.
    """
    if not is_url(place):
        return read_image_file(place, name)
    try:
        system, path = file_system(place)
    except DataError as error:
        reason = str(error).removeprefix(f"{without_secrets(place)}: ")
        raise bad_input(name, reason, type(error)) from error
    for wait in (*_WAITS, None):
        try:
            data = _read(system, path, most + whole)
            break
        except (FileNotFoundError, PermissionError) as error:
            what = "does not exist" if isinstance(error, FileNotFoundError) else "may not be read"
            raise bad_input(name, what) from error
        except Exception as error:
            # Whatever a file system raises about a file is about that file.
            reason = f"cannot be read ({_reason(error, place)})"
            if _is_final(error):
                raise bad_input(name, reason) from error
            if wait is None:
                raise bad_input(name, f"{reason}; its server may answer later", UnreadError) from error
            time.sleep(wait)
    if len(data) > most:
        raise bad_input(name, f"is larger than {most:,} bytes, the limit")
    return data


def _read(system: Any, path: str, most: int) -> bytes:
    """Read the first bytes of a file, and no more: what a server says about size and ranges may be wrong."""
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    # Over http, a stream from one request; elsewhere, no reading ahead.
    how = {"block_size": 0, "size": 1} if "http" in protocols else {"cache_type": "none"}
    with system.open(path, "rb", **how) as file:
        size = getattr(file, "size", None)
        left = most if size is None else min(most, size)
        parts = []
        while left > 0 and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
    return b"".join(parts)


def read_text(place: str) -> str:
    """Return the content of a list at a URL."""
    shown = without_secrets(place)
    try:
        return fetch(place, f"the list {shown}", MAX_LIST_BYTES).decode("utf-8-sig")
    except DataError as error:
        raise DataError(str(error)) from error  # it is not about one image
    except UnicodeDecodeError as error:
        raise DataError(f"{shown}: is not UTF-8 text; a list of images has one on each line") from error


def _content(place: str) -> str:
    """Return the checksum of a file: the one its server states, where it states one."""
    try:
        if is_url(place):
            system, path = file_system(place)
            if tag := _tag(system.info(path)):
                return tag
        return hashlib.sha256(fetch(place, place)).hexdigest()
    except Exception as error:  # noqa: BLE001 - named when it is decoded; it must not look like content
        return f"unreadable {type(error).__name__}"


def _tag(info: Mapping[str, Any]) -> str | None:
    tag = next((info[name] for name in _TAGS if info.get(name)), None)
    return None if tag is None else f"{tag} {info.get('size')}"


def _status(error: Exception) -> int | None:
    found = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return next((status for status in found if isinstance(status, int)), None)


def _is_final(error: Exception) -> bool:
    """Tell a refusal that another attempt would meet again."""
    status = _status(error)
    return status is not None and 400 <= status < 500 and status not in (408, 429)


def _reason(error: Exception, url: str) -> str:
    """Say in one line what a file system raised."""
    status = _status(error)
    text = f"status {status}" if status else " ".join(str(error).replace(url, without_secrets(url)).split())
    return f"{text or type(error).__name__}"[:200]
