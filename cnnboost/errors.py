"""What can go wrong, by name.

Every error here is a `CnnboostError` and also the built-in class that a caller of a library like this
one would catch. Each message names the bad value, where it was found, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class CnnboostError(Exception):
    """Base of every error that this package raises on purpose."""


class BadInput(NamedTuple):
    """One input that could not be used."""

    place: str
    reason: str


class Stopped(KeyboardInterrupt):
    """A signal that ends the program: Ctrl-C, SIGTERM or SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


class DataError(CnnboostError, ValueError):
    """Images, labels or rows that cannot be used."""

    def __init__(self, message: str, bad: Sequence[BadInput] = ()) -> None:
        super().__init__(message)
        self.bad = tuple(bad)


class UnreadError(DataError):
    """An input that could not be read for a reason outside of it: its server, its disk, its permissions.

    Another attempt may succeed, so that nothing of it is kept.
    """


class RecipeError(CnnboostError, ValueError):
    """A recipe with an unknown key or an impossible value."""


class ParameterError(CnnboostError, ValueError):
    """An estimator's parameter with an unknown name or an impossible value."""


class ModelError(CnnboostError, ValueError):
    """A Keras model that cannot be read, or that does not fit the images."""


class LayerError(CnnboostError, ValueError):
    """A layer that the CNN does not have."""


class FeatureError(CnnboostError, ValueError):
    """Features that must not be kept: NaN, infinite, or of the wrong shape."""


class StoreError(CnnboostError, OSError):
    """The disk does not hold what was asked of it: full, damaged or altered files."""

    def __str__(self) -> str:
        # OSError would print "[Errno ...]" for some argument counts.
        return " ".join(str(arg) for arg in self.args)


class TrainingError(CnnboostError, RuntimeError):
    """A training that cannot go on: a loss that is not finite, a checkpoint of another run."""


class DeviceError(CnnboostError, RuntimeError):
    """A device was demanded that XGBoost cannot use here."""


class ServerError(CnnboostError, RuntimeError):
    """A server that cannot start: its port is taken, or packages that it needs are missing."""


class ClusterError(CnnboostError, RuntimeError):
    """A Dask cluster that cannot be reached, cannot do the work, or is gone."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what a message about an unknown name says on the known one nearest to it, if one is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}" if near else ""


def without_trace(error: BaseException) -> str:
    """Return what an error of XGBoost says, without the C++ stack trace that may follow."""
    return str(error).split("Stack trace")[0].strip()
