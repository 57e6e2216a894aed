"""What a trained network is asked: class probabilities, classes, its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from cnnboost.cnn import model_file
from cnnboost.cnn.inference import Inference
from cnnboost.cnn.inputs import check_images
from cnnboost.cnn.outputs import probabilities
from cnnboost.images.views import mean_over_views


class CNNPrediction:
    """The half of `CNNClassifier` that needs a trained model and none of the parameters of its training."""

    image_shape: tuple[int, ...] | None
    tta: str

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, the mean over the views of `tta`."""
        check_is_fitted(self)
        return mean_over_views(self.predict_view_proba, check_images(X, self.image_shape), self.tta)

    def predict_view_proba(self, X: np.ndarray) -> np.ndarray:
        """Return class probabilities of images just as they are, whatever `tta` says.

        Images are not checked here: views of images that were checked may be floats of few grey levels,
        which look like pixels that were scaled.
        """
        check_is_fitted(self)
        return probabilities(self.inference_(X)[0], self.output_kind_)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image."""
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the trained model as a `.keras` file."""
        check_is_fitted(self)
        return model_file.write_model(self.model_, path)

    @property
    def inference_(self) -> Inference:
        """The traced model; made at first use and never pickled."""
        traced: Inference | None = self.__dict__.get("_inference")
        if traced is None:
            traced = self.__dict__["_inference"] = Inference(self.model_, self.pixels_)
        return traced

    def _adopt(self, model: Any, classes: np.ndarray, pixels: str, kind: str) -> None:
        self.model_ = model
        self.classes_ = classes
        self.pixels_ = pixels
        self.output_kind_ = kind
        self.input_shape_ = tuple(model.input_shape[1:])
        self.__dict__.pop("_inference", None)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        state.pop("_inference", None)
        return state
