"""URLs told from paths, and shown without what they keep secret."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote

_WITH_QUERY = ("http", "https")
_WITH_USER = ("http", "https", "ftp", "sftp", "ssh")


def is_url(name: str) -> bool:
    """Tell a URL from a path."""
    return "://" in name


def without_query(url: str) -> str:
    """Return a URL without its query; only http and https have one, in a bucket ``?`` is a letter."""
    return re.split(r"[?#]", url, maxsplit=1)[0] if _protocol(url) in _WITH_QUERY else url


def without_secrets(name: str) -> str:
    """Return a URL without user, password and query, which may hold a signature; a path as it is."""
    if not is_url(name):
        return name
    protocol, _, rest = without_query(name).partition("://")
    host, slash, path = rest.partition("/")
    user, at, plain = host.rpartition("@")
    # What is before the @ of abfss:// is a container, which is part of the place.
    secret = at and (_protocol(name) in _WITH_USER or ":" in user)
    return f"{protocol}://{plain if secret else host}{slash}{path}"


def local_path(name: str) -> str:
    """Return the path of a ``file://`` URL of this machine; anything else as it is."""
    if _protocol(name) != "file":
        return name
    host, slash, path = name.partition("://")[2].partition("/")
    return unquote(slash + path) if host in ("", "localhost") else name


def is_absolute(place: str) -> bool:
    """Tell a place on this machine that is not relative to anything: a path from the root, or ``file:``."""
    return posixpath.isabs(place) or place.lower().startswith("file:")


def _protocol(url: str) -> str:
    return url.partition("://")[0].lower() if is_url(url) else ""
