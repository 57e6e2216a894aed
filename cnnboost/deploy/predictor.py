"""Predictor: an exported graph as a function from images to probabilities, on ONNX Runtime alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cnnboost.deploy.bundle import GRAPHS, Bundle, graph_name, located, read_bundle, shipped_bundle
from cnnboost.deploy.graph_file import (
    ENGINE_ERRORS,
    GraphFile,
    open_session,
    verify_checksum,
)
from cnnboost.deploy.pixels import as_batch, as_pixels, decode_pictures
from cnnboost.deploy.slices import Run, Slices
from cnnboost.errors import ModelError, ParameterError, StoreError
from cnnboost.files import read_regular, reason_of
from cnnboost.images.decode import InputSpec
from cnnboost.images.pool import n_threads

if TYPE_CHECKING:
    from cnnboost.deploy.face_predictions import FacePrediction

_MOST_BYTES = (1 << 31) - 1  # of a protobuf message
_MOST_THREADS = 1024
_OUTPUTS = ["probabilities"]
_UINT8 = np.dtype(np.uint8)


class Predictor:
    """An exported graph, ready to predict.

    It can be used from several threads at once, and be pickled: the copy is made from the same bytes. Its own
    threads spin for 100 microseconds after a call and no longer, so that other libraries have the cores
    between two calls.

    Parameters
    ----------
    model : bytes
        Content of a `hybrid.onnx`, `cnn.onnx` or `int8.onnx` that `cnnboost export` made.
    threads : int, optional
        Threads for one batch; None is one for each core that this process may use. If many threads or
        processes predict at the same time, 1 is best.
    place : str
        Where the model came from, for messages.

    Attributes
    ----------
    classes_ : ndarray of shape (k,)
        In the order of the columns of `predict_proba`: text, or whatever labels the model was fitted on.
    names : list of str
        The same as text.
    input : InputSpec
        Height, width and channels of the images.
    kind : {"hybrid", "cnn"}
    int8 : bool
        Whether its convolutions are computed in 8-bit integers.
    layer, mode : str or None
        Where the CNN is cut, and how its head was fitted; None for a CNN without a head.
    details : dict
        All metadata of the file: also `recipe`, `rounds`, `pixels`, and `native`, the sha256 of the files
        that it was made from.
    threads : int
    place : str

    Raises
    ------
    StoreError
        If the content is truncated, altered, or was not made by this package.
    ModelError
        If the graph contradicts the metadata of the file, or ONNX Runtime cannot run it.
    ParameterError
        If `threads` is not in 1..1024.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnboost import Predictor
    >>> predictor = Predictor.load(threads=1)  # the bundle that ships
    >>> predictor.predict_proba(np.zeros((2, 48, 48, 1), np.uint8)).shape
    (2, 7)
    """

    def __init__(self, model: bytes, *, threads: int | None = None, place: str = "the model") -> None:
        verify_checksum(model, place)
        self._model = model
        self._asked = threads
        self.place = place
        self.threads = _checked_threads(threads)
        session, self.details = open_session(model, self.threads, place)
        self.classes_ = np.array(self.details["classes"])
        self.names = [str(label) for label in self.classes_.tolist()]
        self.input = InputSpec(**self.details["input"])
        self.kind: str = self.details["kind"]
        self.int8: bool = self.details.get("int8", False)
        self.layer: str | None = self.details.get("layer")
        self.mode: str | None = self.details.get("mode")
        self._shape = tuple(self.input)
        self._run = session.run
        self._slices = Slices(self._open_single, self.threads, self.input.height * self.input.width)
        self._most_at_once = self._slices.most_at_once
        #: What its images show, for whoever has photographs: "face", or None.
        self.wants: str | None = self.details.get("wants")

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | Bundle | None = None,
        *,
        threads: int | None = None,
        graph: Literal["hybrid", "cnn", "int8"] = "hybrid",
    ) -> Predictor:
        """Read a bundle or one of its ONNX files; checksums are verified before anything is parsed.

        Parameters
        ----------
        source : path-like or Bundle, optional
            The folder of a bundle, one that was read already, or an ONNX file. Default: "fer2013",
            the bundle that ships with the package, see `cnnboost.deploy.bundle.shipped_bundle`;
            "fer2013_fast" ships too.
        threads : int, optional
            See `Predictor`.
        graph : {"hybrid", "cnn", "int8"}
            Which graph of the bundle: the hybrid, its CNN alone, or the hybrid in 8-bit integers, which is
            faster and slightly different. Ignored for a file.

        Returns
        -------
        Predictor

        Raises
        ------
        StoreError, ModelError, ParameterError
            As `Predictor`, and for an incomplete bundle; see `cnnboost.deploy.bundle.read_bundle`.
        """
        if graph not in GRAPHS:
            raise ParameterError(f"graph={graph!r} is unknown; choose one of {', '.join(GRAPHS)}")
        _checked_threads(threads)
        if source is None:
            source = shipped_bundle()
        read = source if isinstance(source, Bundle) else None
        path = read.folder if read else located(Path(source))  # type: ignore[arg-type]
        while True:
            member, bundle = path, None
            if path.is_dir():
                bundle, read = read or read_bundle(path), None
                member = _member(bundle, graph)
            try:
                loaded = cls(_content(member), threads=threads, place=str(member))
            except FileNotFoundError as error:
                if path.is_dir():
                    continue  # another process replaced the bundle meanwhile
                raise StoreError(
                    f"{path}: no such file or folder; name a bundle or a .onnx file of 'cnnboost export'"
                ) from error
            if bundle is not None:
                loaded.wants = bundle.manifest.get("wants", loaded.wants)
            return loaded

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, height, width, channels), or (n, height, width) if they are grey
            Pixels in 0..255, best as uint8; floats must be whole numbers. Or a picture of any size: the path
            or the content of an image file, a Pillow image; or a list of pictures and of arrays `(height,
            width)` or `(height, width, channels)`. Pictures are decoded as by `cnnboost predict`.

        Returns
        -------
        ndarray of shape (n, k), dtype float32

        Raises
        ------
        DataError
            If these are not images: empty, NaN, fractions, out of range; or if a picture cannot be read.
        ModelError
            If they have another size or other channels, or ONNX Runtime cannot run the graph on them.
        """
        # One image takes a tenth of a millisecond, so the usual case must pass with few steps.
        if (
            type(X) is np.ndarray
            and X.dtype is _UINT8
            and X.shape[1:] == self._shape
            and 0 < X.shape[0] <= self._most_at_once
        ):
            try:
                return self._run(_OUTPUTS, {"image": X})[0]
            except ENGINE_ERRORS as error:
                raise self._failed(error) from error
        pictures = decode_pictures(X, self.input, self._asked)
        X = as_batch(X if pictures is None else pictures, self.input, self.place)
        if len(X) <= self._most_at_once:
            return self._checked(self._run)(X, 0)
        result = np.empty((len(X), len(self.classes_)), np.float32)
        self._slices(X, result)
        return result

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : array-like
            As in `predict_proba`.

        Returns
        -------
        ndarray of shape (n,), of the dtype of `classes_`

        Raises
        ------
        DataError, ModelError
            As `predict_proba`.
        """
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def named(self, row: np.ndarray) -> dict[str, float]:
        """Return the probabilities of one image by the names of the classes.

        Parameters
        ----------
        row : ndarray of shape (k,)
            A row of `predict_proba`.

        Returns
        -------
        dict of str to float
            Of each class the shortest number that is this float32.
        """
        return dict(zip(self.names, map(float, row.astype(np.float32).astype(str).tolist()), strict=True))

    def faces(self, image: Any) -> list[FacePrediction]:
        """Find the faces in a photograph, and return the probabilities of each.

        Parameters
        ----------
        image : path-like, bytes, PIL.Image.Image, or ndarray
            As `cnnboost.find_faces`.

        Returns
        -------
        list of FacePrediction
            `face`, `label` and `probabilities` of each, the most certain face first.

        Raises
        ------
        DataError
            If the picture cannot be read.
        ParameterError
            If what finds faces is not installed.
        """
        from cnnboost.deploy.face_predictions import predict_faces

        return predict_faces(self, image)

    @property
    def graph(self) -> str:
        """Which graph of a bundle it is: "hybrid", "cnn" or "int8"."""
        return "int8" if self.int8 else self.kind

    @property
    def file(self) -> GraphFile:
        """The file it was loaded from, for other processes to load it again."""
        return GraphFile(Path(self.place).absolute(), hashlib.sha256(self._model).hexdigest())

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            partial(type(self), threads=self._asked, place=self.place),
            (self._model,),
            {"wants": self.wants},
        )

    def __repr__(self) -> str:
        kind = f"{self.kind} in int8" if self.int8 else self.kind
        return f"<Predictor {self.place}: {self.input}, {kind}, {len(self.classes_)} classes>"

    def _open_single(self) -> Run:
        """Open the graph a second time, for slices that run on one thread each."""
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
        return ModelError(f"{self.place} cannot be run: {reason_of(error)}")


def _checked_threads(threads: int | None) -> int:
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise ParameterError(
            f"threads={threads!r}: give a number in 1..{_MOST_THREADS}, or None for all cores of this process"
        )
    return n_threads(threads)


def _member(bundle: Bundle, graph: str) -> Path:
    name = graph_name(graph)
    if name not in bundle.members:
        raise StoreError(
            f"{bundle.folder} holds a bundle without {name}, only {', '.join(sorted(bundle.members))}; "
            f"export it again ('cnnboost export{' --int8' if graph == 'int8' else ''}')"
        )
    return bundle.members[name]


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, _MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {reason_of(error)}") from error
