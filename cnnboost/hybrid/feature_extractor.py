"""Images -> what a head sees: features of one network, and the log-probabilities of one or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnboost.cnn.classifier import CNNClassifier
from cnnboost.cnn.inference import CHUNKS, Inference
from cnnboost.cnn.interface import probabilities
from cnnboost.errors import FeatureError
from cnnboost.features.cut import Cut
from cnnboost.holdout import groups_of
from cnnboost.hybrid.modes import HeadInputs
from cnnboost.hybrid.temperature import log_probabilities
from cnnboost.images.augment import Augmentation
from cnnboost.images.pixels import whole_levels
from cnnboost.images.views import views


def layers_name(layers: Sequence[str]) -> str:
    """Name what a head sees."""
    return "+".join(layers) or "output"


class FeatureExtractor:
    """Networks that look at images, each image once."""

    def __init__(self, networks: Sequence[CNNClassifier], layers: Sequence[str], norm: bool) -> None:
        self.networks, self.layers, self.norm = list(networks), list(layers), norm
        first = self.networks[0]
        cut = Cut(first.model_)
        self.width = sum(cut.find(name).width for name in layers) if layers else len(first.classes_)
        self.width += bool(norm and layers)
        self.trunk = cut.trunk([*layers, "output"])
        self.run: Callable[[np.ndarray], Sequence[np.ndarray]] = Inference(self.trunk, first.pixels_)

    def __call__(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look at images."""
        *found, scores = self.run(X)
        logs = [log_probabilities(probabilities(scores, self.networks[0].output_kind_))]
        logs += [log_probabilities(network.predict_view_proba(X)) for network in self.networks[1:]]
        log_proba: np.ndarray = np.stack(logs).mean(axis=0, dtype=np.float32)
        if not self.layers:
            return log_proba, log_proba
        if self.norm:
            squares = np.sum([np.square(part, dtype=np.float64).sum(axis=1) for part in found], axis=0)
            found.append(np.sqrt(squares).astype(np.float32)[:, None])
        features = found[0] if len(found) == 1 else np.concatenate(found, axis=1)
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise FeatureError(
                f"{', '.join(self.layers)}: NaN or infinite features for image {int(np.argmin(finite))} "
                f"({int((~finite).sum())} such images in all); the CNN's weights are damaged, its training "
                "diverged, or its half precision cannot hold such values"
            )
        return features, log_proba

    def all(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look at any number of images, a chunk at a time."""
        parts = [self(X[start : start + CHUNKS[-1]]) for start in range(0, len(X), CHUNKS[-1])]
        features, logs = zip(*parts, strict=True)
        return np.concatenate(features), np.concatenate(logs)

    def seen(
        self,
        X: np.ndarray,
        codes: NDArray[np.intp],
        count: int = 1,
        augment: Augmentation | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> HeadInputs:
        """Look at images to grow trees on, in several views."""
        how = None if augment is None else Augmentation.of(augment)
        features, logs = [], []
        for k in range(count):
            view = X
            if k:
                view = X[:, :, ::-1] if how is None else how.view(whole_levels(np.asarray(X)), k, seed)
            found, log_proba = self.all(view)
            features.append(found)
            logs.append(log_proba)
        return HeadInputs(
            np.concatenate(features),
            np.concatenate(logs),
            np.tile(codes, count),
            np.tile(groups_of(X), count),
        )

    def views(self, X: np.ndarray, tta: str) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Look at every test-time view of images, a chunk of images at a time."""
        for start in range(0, len(X), CHUNKS[-1]):
            rows = slice(start, min(start + CHUNKS[-1], len(X)))
            for view in views(X[rows], tta):
                yield rows, *self(view)
