"""What a fitted hybrid is asked: class probabilities, its own and those of its CNN alone, and classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from cnnboost.cnn.classifier import CNNClassifier
from cnnboost.cnn.inputs import check_images
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.hybrid.modes import FittedMode
from cnnboost.hybrid.temperature import tempered
from cnnboost.images.views import TTA

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HybridPrediction:
    """The half of `HybridClassifier` that needs its networks and its head, and no parameter of fitting."""

    layer: str | Sequence[str]
    folds: int
    tta: str
    norm: bool
    image_shape: tuple[int, ...] | None
    classes_: NDArray[Any]
    networks_: list[CNNClassifier]
    head_: FittedMode

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return class probabilities, the mean over the views of `tta`."""
        check_is_fitted(self)
        return self._mean(X, self.head_.predict_proba)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each image."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.take(self.classes_, best)

    def predict_softmax(self, X: Any) -> NDArray[np.float32]:
        """Return what the CNN alone says of the same views, at the temperature of the head.

        It is what the hybrid has to better.
        """
        check_is_fitted(self)
        return self._mean(X, lambda _, log_proba: tempered(log_proba, self.head_.temperature))

    def _mean(self, X: Any, judge: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> NDArray[np.float32]:
        X = check_images(X, self.image_shape)
        total = np.zeros((len(X), len(self.classes_)), np.float32)
        for rows, features, log_proba in self.extractor_.views(X, self.tta):
            total[rows] += judge(features, log_proba)
        return total / np.float32(TTA[self.tta])

    @property
    def extractor_(self) -> FeatureExtractor:
        """What looks at images for the head; made at first use and never pickled."""
        looks: FeatureExtractor | None = self.__dict__.get("_looks")
        if looks is None:
            layers = [self.layer] if isinstance(self.layer, str) else list(self.layer)
            looks = self._looks = FeatureExtractor(self.networks_, [] if self.folds else layers, self.norm)
        return looks

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "head_")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        state.pop("_looks", None)
        return state
