"""What installed packages need, and what they take on a disk."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Installed = dict[str, importlib.metadata.Distribution]


def installed(site: Path | None = None) -> Installed:
    """Return the packages of this environment, or of another one's folder of packages, by their names."""
    found = importlib.metadata.distributions(**({} if site is None else {"path": [str(site)]}))
    return {canonicalize_name(one.name): one for one in found}


def with_dependencies(names: Iterable[str], there: Installed) -> set[str]:
    """Return packages and all that they need; of what is not there, the name alone."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            wanted = map(Requirement, (there[name].requires if name in there else None) or ())
            waiting += [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]
    return found


def megabytes(names: Iterable[str], there: Installed) -> float:
    """Return what packages take on the disk, without what they need."""
    files = [Path(str(file.locate())) for name in names if name in there for file in there[name].files or ()]
    return round(sum(path.stat().st_size for path in files if path.is_file()) / 1e6, 1)
