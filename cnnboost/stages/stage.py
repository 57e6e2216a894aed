"""What is made once, and again when its inputs change or its files are damaged: one rule for all stages."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from cnnboost.files import digest_of
from cnnboost.locks import file_lock

log = logging.getLogger("cnnboost")

T = TypeVar("T")


class Stage(ABC, Generic[T]):
    """Something on the disk that is made once; `run` returns it up to date.

    Its record holds the digest of what it follows from. Where that is the digest of what it should follow
    from now, and the files are those that were written, it is loaded; else it is built.

    Attributes
    ----------
    path : Path
        The file that is written last: without it nothing is there.
    force : bool
        Whether it is built though it is up to date.
    """

    path: Path
    force: bool = False

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """Return all that changes the output, as JSON can hold it: values and digests, never places."""

    @abstractmethod
    def recorded(self) -> str | None:
        """Return the digest that is recorded with the output; None where it is missing or unusable."""

    @abstractmethod
    def load(self) -> T | None:
        """Read the output; None where its files are not those that were written."""

    @abstractmethod
    def build(self) -> T:
        """Make the output and write it, with `made_from` in its record."""

    @cached_property
    def made_from(self) -> str:
        """Digest of the inputs."""
        return digest_of(self.inputs())

    def is_current(self) -> bool:
        """Tell whether the record of the output names these inputs."""
        return self.path.is_file() and self.recorded() == self.made_from

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from making the same at the same time."""
        return file_lock(self.path.with_suffix(".lock"), self.path)

    def run(self) -> T:
        """Return the output, built if need be."""
        with self.lock():
            if not self.force and self.is_current():
                found = self.load()
                if found is not None:
                    log.info("%s is up to date", self.path)
                    return found
            return self.build()
