"""CNNFeatures: the trunk of a CNN as a scikit-learn transformer."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from cnnboost.cnn.classifier import CNNClassifier
from cnnboost.cnn.inference import Inference
from cnnboost.cnn.inputs import TakesImages, check_images
from cnnboost.cnn.interface import check_model
from cnnboost.cnn.model_file import read_model
from cnnboost.cnn.preprocessing import resolve_pixels
from cnnboost.errors import FeatureError, ModelError
from cnnboost.features.cut import Cut, CutLayer

MOST_BYTES = 256 << 20
"""Limit for all remembered features together; the least recently used go first."""
FEWEST_IMAGES = 64
"""For fewer images, computing the features is faster than looking them up."""


class RecentFeatures:
    """Features that were computed lately in this process, by the content of images and weights.

    A search over layers and trees asks for the features of the same folds of images again and again, each
    time of another copy of the estimator.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._arrays: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> np.ndarray | None:
        """Return a copy of the features of a key, where they are remembered."""
        with self._lock:
            if key not in self._arrays:
                return None
            self._arrays.move_to_end(key)
            return self._arrays[key].copy()

    def put(self, key: str, features: np.ndarray) -> None:
        """Remember a copy, if it takes at most a quarter of the room."""
        if features.nbytes > self._most // 4:
            return
        with self._lock:
            self._arrays[key] = features.copy()
            while sum(array.nbytes for array in self._arrays.values()) > self._most:
                self._arrays.popitem(last=False)


RECENT = RecentFeatures(MOST_BYTES)


def _key(trunk: str, pixels: str, X: np.ndarray) -> str:
    digest = hashlib.sha256(repr((trunk, pixels, X.shape, X.dtype.str)).encode())
    digest.update(np.ascontiguousarray(X).data)
    return digest.hexdigest()


@dataclass(eq=False, repr=False)
class CNNFeatures(TakesImages, TransformerMixin, BaseEstimator):
    """What a CNN returns at one of its layers, as a scikit-learn transformer of images.

    Parameters
    ----------
    model : path, keras.Model or CNNClassifier
        A path, a Keras model, a fitted `CNNClassifier` or a `FrozenEstimator` around one is used as it is. An
        unfitted `CNNClassifier` is cloned and trained by `fit`, so that cross-validation leaks nothing; so is
        a fitted one once scikit-learn has cloned it, which a `FrozenEstimator` prevents.
    layer : str, default="fc1"
        `flatten`, `fc1`, `fc2`, ..., `output`, `input`, or the name of a Keras layer.
    pixels : {"raw", "unit", "symmetric", "caffe", "torch"}, optional
        The scale of pixels that a model file or Keras model expects: 0..255, 0..1, -1..1, or as
        `keras.applications` prepares them for Caffe's and PyTorch's weights. Default: what the model's first
        layers say, else "unit".
    image_shape : tuple of int, optional
        `(height, width)` or `(height, width, channels)`, if images come as flat rows.

    Features of a model that `fit` does not train are kept for a while (256 MiB in all, in this process), and
    found again by the content of images and weights: the candidates of a search share those of each fold.

    Attributes
    ----------
    model_ : keras.Model
        The whole CNN.
    layer_ : CutLayer
        Where it is cut: names and width.
    pixels_ : str
    n_features_out_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from cnnboost import CNNFeatures
    >>> from cnnboost.cnn.architectures import build
    >>> features = CNNFeatures(build("digits", (8, 8, 1), 10), layer="fc1")
    >>> features.fit_transform(np.zeros((4, 8, 8), np.uint8)).shape
    (4, 64)
    """

    _made_at_first_use: ClassVar = ("_trunk", "_cut")

    model: Any
    layer: str = "fc1"
    _: KW_ONLY
    pixels: str | None = None
    image_shape: tuple[int, ...] | None = None

    def fit(self, X: Any, y: Any = None) -> CNNFeatures:
        """Make the trunk; train the CNN first if it is an unfitted `CNNClassifier`.

        Parameters
        ----------
        X : array-like
            Images, `(n, height, width)` or `(n, height, width, channels)`, in [0, 255].
        y : array-like, (n,), optional
            Labels; needed only where the CNN is trained here.

        Returns
        -------
        CNNFeatures
            Itself.

        Raises
        ------
        ModelError
            If the model cannot be used, or needs labels to be trained and there are none.
        LayerError
            If the layer is not there.
        """
        X = check_images(X, self.image_shape)
        self._is_given = not (isinstance(self.model, CNNClassifier) and not hasattr(self.model, "model_"))
        self.model_, self.pixels_ = self._resolve(X, y)
        for name in self._made_at_first_use:
            self.__dict__.pop(name, None)
        self.layer_: CutLayer = self._cut.find(self.layer)
        self.n_features_out_ = self.layer_.width
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images.

        Parameters
        ----------
        X : array-like
            Images as in `fit`.

        Returns
        -------
        ndarray of float32, (n, width)

        Raises
        ------
        FeatureError
            If a feature is NaN or infinite.
        """
        check_is_fitted(self)
        X = check_images(X, self.image_shape)
        key = None
        if self._is_given and len(X) >= FEWEST_IMAGES:
            # Of the weights as they are now: the model is not copied, and its owner may go on training it.
            key = _key(self._cut.digest(self.layer), self.pixels_, X)
            known = RECENT.get(key)
            if known is not None:
                return known
        features = self._trunk(X)[0]
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise FeatureError(
                f"layer {self.layer!r} gives NaN or infinite features for image {row} "
                f"({int((~finite).sum())} such images in all); "
                "the CNN's weights are damaged, its training diverged, or its half precision cannot hold "
                "such values"
            )
        if key is not None:
            RECENT.put(key, features)
        return features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns: the layer's name and a number.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str, (width,)
        """
        check_is_fitted(self)
        return np.array([f"{self.layer}_{i}" for i in range(self.n_features_out_)], dtype=object)

    def _resolve(self, X: np.ndarray, y: Any) -> tuple[Any, str]:
        given = self.model
        if isinstance(given, FrozenEstimator):
            given = given.estimator
        if isinstance(given, CNNClassifier):
            if not hasattr(given, "model_"):
                if y is None:
                    raise ModelError(
                        "the CNN is not trained and there are no labels to train it: fit it first"
                    )
                given = clone(given).fit(X, y)
            return given.model_, given.pixels_
        if isinstance(given, (str, os.PathLike)):
            model = read_model(given)
        elif hasattr(given, "predict_on_batch"):
            model = check_model(given, "the model")
        else:
            raise ModelError(
                f"model={given!r} is neither a path, a Keras model nor a CNNClassifier (frozen or not)"
            )
        return model, resolve_pixels(model, self.pixels)

    @cached_property
    def _cut(self) -> Cut:
        return Cut(self.model_)

    @cached_property
    def _trunk(self) -> Inference:
        return Inference(self._cut.trunk([self.layer]), self.pixels_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "layer_")
