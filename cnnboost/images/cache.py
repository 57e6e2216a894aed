"""Image sets that were decoded before: ``images.npy`` and what belongs to it, found by content.

``<cache>/images/<key>/`` holds ``images.npy`` (uint8 pixels), ``rows.npz`` (labels, ids, splits) and
``set.json`` (classes, bad inputs, checksums). The key is a sha256 over the content of the source and what
was asked of it; the path of the source is no part of it. ``<cache>/sources/`` remembers which content
stood behind the size and time stamps of a path, so that an unchanged source is hashed once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from cnnboost.errors import BadInput, DataError, StoreError
from cnnboost.images.imageset import ImageSet, pixel_digest, shape_tag
from cnnboost.images.decode import InputSpec
from cnnboost.images.pool import Chunk, n_threads
from cnnboost.images.readers import Listing
from cnnboost.images.tree import FileStamp

FORMAT = 1
# A file changed this shortly before it was hashed may change again under the same time stamp.
_SETTLED_NS = 2_000_000_000
_RESERVE = 1 << 20


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder for decoded sets.

    `cache`, else ``CNNBOOST_CACHE``, else ``$XDG_CACHE_HOME/cnnboost``, else ``~/.cache/cnnboost``.
    """
    if cache is not None:
        return Path(cache)
    if named := os.environ.get("CNNBOOST_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cnnboost"
