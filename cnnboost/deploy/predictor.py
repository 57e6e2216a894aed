"""Predictor: an exported hybrid as a function from images to probabilities, on ONNX Runtime alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnnboost.deploy.bulk import Bulk, Run
from cnnboost.deploy.bundle import Bundle, read_bundle
from cnnboost.deploy.checksum import verify_checksum
from cnnboost.deploy.pictures import pixels_of
from cnnboost.deploy.pixels import as_pixels, fits
from cnnboost.deploy.session import ENGINE_ERRORS, GRAPHS, brief, open_session
from cnnboost.deploy.shipped import shipped_bundle
from cnnboost.errors import ModelError, ParameterError, StoreError
from cnnboost.files import read_regular
from cnnboost.images.decode import InputSpec
from cnnboost.images.pool import n_threads

_MOST_BYTES = (1 << 31) - 1  # of a protobuf message
_MOST_THREADS = 1024
_OUTPUTS = ["probabilities"]
_UINT8 = np.dtype(np.uint8)


class Predictor:
    """An exported graph, ready to predict.

    It can be used from many threads at once, and it survives pickling: the copy is made from the same bytes.
    Its threads stay awake for 100 microseconds after a call and no longer, so that other libraries have the
    cores between two calls.

    Parameters
    ----------
    model : bytes
        Content of a `hybrid.onnx`, `cnn.onnx` or `int8.onnx` that `cnnboost export` made.
    threads : int, optional
        Threads for one batch; None is one for each core that this process may use. Where many threads or
        processes predict at the same time, 1 is best.
    place : str
        Where the model came from, for messages.

    Attributes
    ----------
    classes_ : ndarray of shape (k,), dtype str
        In the order of the columns of `predict_proba`.
    input : InputSpec
        Height, width and channels of the images.
    kind : {"hybrid", "cnn"}
    int8 : bool
        Whether its convolutions count in 8-bit integers.
    layer, mode : str
        Where the CNN is cut, and how its head was fitted.
    details : dict
        All that the file says about itself: also `recipe`, `rounds`, `pixels`, and `native`, the sha256 of
        the files that it was made from.
    threads : int
    place : str

    Raises
    ------
    StoreError
        If the content is truncated, altered, or was not made by this package.
    ModelError
        If the graph does not fit what the file says about itself, or ONNX Runtime cannot run it.
    ParameterError
        If `threads` is not in 1..1024.
    """

    def __init__(self, model: bytes, *, threads: int | None = None, place: str = "the model") -> None:
        verify_checksum(model, Path(place))
        self._model = model
        self._asked = threads
        self.place = place
        self.threads = _threads(threads)
        session, self.details = open_session(model, self.threads, place)
        self.classes_ = np.array(self.details["classes"])
        self.input = InputSpec(**self.details["input"])
        self.kind: str = self.details["kind"]
        self.int8: bool = self.details.get("int8", False)
        self.layer: str = self.details["layer"]
        self.mode: str = self.details["mode"]
        self._shape = tuple(self.input)
        self._run = session.run
        self._bulk = Bulk(self._open_single, self.threads, self.input.height * self.input.width)
        self._few = self._bulk.few

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | Bundle | None = None,
        *,
        threads: int | None = None,
        graph: Literal["hybrid", "cnn", "int8"] = "hybrid",
    ) -> Predictor:
        """Read a bundle or one of its ONNX files; checksums are compared before anything is parsed.

        Parameters
        ----------
        source : path-like or Bundle, optional
            The folder of a bundle, one that was read already, or an ONNX file. Default: the bundle that
            ships with the package, see `cnnboost.deploy.shipped`.
        threads : int, optional
            See `Predictor`.
        graph : {"hybrid", "cnn", "int8"}
            Which graph of the bundle: the hybrid, its CNN alone, or the hybrid in 8-bit integers, which is
            faster and differs a little. A file says itself what it is.

        Returns
        -------
        Predictor

        Raises
        ------
        StoreError, ModelError, ParameterError
            As `Predictor`, and for a bundle that is not whole; see `cnnboost.deploy.bundle.read_bundle`.
        """
        if graph not in GRAPHS:
            raise ParameterError(f"graph={graph!r}: there is no such graph; there are: {', '.join(GRAPHS)}")
        _threads(threads)
        if source is None:
            source = shipped_bundle()
        read = source if isinstance(source, Bundle) else None
        path = read.folder if read else Path(source)  # type: ignore[arg-type]
        while True:
            member = path
            if path.is_dir():
                member = _member(read or read_bundle(path), graph)
                read = None
            try:
                return cls(_content(member), threads=threads, place=str(member))
            except FileNotFoundError as error:
                if path.is_dir():
                    continue  # another process put a new bundle in its place meanwhile
                raise StoreError(
                    f"{path}: there is no such file or folder; name a bundle or a .onnx file of "
                    "'cnnboost export'"
                ) from error

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, height, width, channels), or (n, height, width) where they are grey
            Pixels in 0..255, best as uint8. Floats are taken where they are whole numbers. Or a picture of
            any size: the path or the content of an image file, a Pillow image; or a list of pictures and of
            arrays `(height, width)` or `(height, width, channels)`. Pictures become pixels as those do that
            `cnnboost predict` is given.

        Returns
        -------
        ndarray of shape (n, k), dtype float32

        Raises
        ------
        DataError
            If these are no images: no rows, no pixels, NaN, fractions, out of range; or if a picture cannot
            be read.
        ModelError
            If they have another size or other channels, or ONNX Runtime cannot run the graph on them.
        """
        # One image takes a tenth of a millisecond, so what usually comes must pass with few steps.
        if (
            type(X) is np.ndarray
            and X.dtype is _UINT8
            and X.shape[1:] == self._shape
            and 0 < X.shape[0] <= self._few
        ):
            try:
                return self._run(_OUTPUTS, {"image": X})[0]
            except ENGINE_ERRORS as error:
                raise self._failed(error) from error
        pictures = pixels_of(X, self.input, self._asked)
        X = fits(X if pictures is None else pictures, self.input, self.place)
        if len(X) <= self._few:
            return self._checked(self._run)(X, 0)
        # In slices: the memory of some, however large the batch.
        result = np.empty((len(X), len(self.classes_)), np.float32)
        self._bulk(X, result)
        return result

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : array-like
            As in `predict_proba`.

        Returns
        -------
        ndarray of shape (n,), dtype str

        Raises
        ------
        DataError, ModelError
            As `predict_proba`.
        """
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._model, self._asked, self.place)

    def __repr__(self) -> str:
        kind = f"{self.kind} in int8" if self.int8 else self.kind
        return f"<Predictor {self.place}: {self.input}, {kind}, {len(self.classes_)} classes>"

    def _open_single(self) -> Run:
        """Open the graph once more, for slices that run on one thread each."""
        if self.threads == 1:
            return self._checked(self._run)
        return self._checked(open_session(self._model, 1, self.place)[0].run)

    def _checked(self, run: Callable[..., list[np.ndarray]]) -> Run:
        def checked(X: np.ndarray, first: int) -> np.ndarray:
            pixels = as_pixels(X, first)
            try:
                return run(_OUTPUTS, {"image": pixels})[0]
            except ENGINE_ERRORS as error:
                raise self._failed(error) from error

        return checked

    def _failed(self, error: Exception) -> ModelError:
        return ModelError(f"{self.place} cannot be run: {brief(error)}")


def _restore(model: bytes, threads: int | None, place: str) -> Predictor:
    return Predictor(model, threads=threads, place=place)


def _threads(threads: int | None) -> int:
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise ParameterError(
            f"threads={threads!r}: give a number in 1..{_MOST_THREADS}, or None for all cores of this process"
        )
    return n_threads(threads)


def _member(bundle: Bundle, graph: str) -> Path:
    name = f"{graph}.onnx"
    if name not in bundle.members:
        raise StoreError(
            f"{bundle.folder} holds a bundle without {name}, only {', '.join(sorted(bundle.members))}; "
            f"export it again ('cnnboost export{' --int8' if graph == 'int8' else ''}')"
        )
    return bundle.members[name]


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StoreError(f"{path} has more than {_MOST_BYTES} bytes, the limit of the ONNX format")
        return read_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
