"""Images -> what a head sees: features of one network, and the log-probabilities of one or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnboost.cnn.classifier import CNNClassifier
from cnnboost.cnn.inference import Inference
from cnnboost.cnn.interface import probabilities
from cnnboost.errors import FeatureError
from cnnboost.features.cut import Cut
from cnnboost.features.feature_parts import ArrayPart, FeatureParts
from cnnboost.features.store import FeatureSpec, FeatureStore, Stored
from cnnboost.holdout import groups_of
from cnnboost.hybrid.calibration import log_probabilities
from cnnboost.hybrid.modes import HeadInputs
from cnnboost.images.augment import Augmentation
from cnnboost.images.pixels import CHUNKS, largest_chunk, pixel_digest, whole_levels
from cnnboost.images.views import views


def layers_name(layers: Sequence[str]) -> str:
    """Name what a head sees."""
    return "+".join(layers) or "output"


class FeatureExtractor:
    """Networks that see each image once; a store keeps what they return and finds it by content."""

    def __init__(
        self,
        networks: Sequence[CNNClassifier],
        layers: Sequence[str],
        norm: bool,
        store: FeatureStore | None = None,
    ) -> None:
        self.networks, self.layers, self.norm, self.store = list(networks), list(layers), norm, store
        first, *others = self.networks
        # The key of what is stored needs the cut of each; otherwise only the first is cut.
        self._cuts = [Cut(network.model_) for network in (self.networks if store is not None else [first])]
        cut = self._cuts[0]
        self.width = sum(cut.find(name).width for name in layers) if layers else len(first.classes_)
        self.width += bool(norm and layers)
        self.trunk = cut.trunk([*layers, "output"])
        self.runs: list[Callable[[np.ndarray], Sequence[np.ndarray]]] = [
            Inference(self.trunk, first.pixels_), *(network.inference_ for network in others)
        ]  # fmt: skip

    def __call__(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the features and log-probabilities of some images."""
        return self._inputs([run(X) for run in self.runs])

    def all(self, X: np.ndarray) -> tuple[np.ndarray | FeatureParts, np.ndarray]:
        """Return those of any number of images, a chunk at a time.

        Features of the store that are more than a block stay on the disk.
        """
        if self.store is None:
            parts = [self(X[start : start + CHUNKS[-1]]) for start in range(0, len(X), CHUNKS[-1])]
            features, logs = zip(*parts, strict=True)
            return np.concatenate(features), np.concatenate(logs)
        # Some views have pixels between two levels.
        images = f"{X.dtype.str} {pixel_digest(X)}"
        stored = [self._stored(number, X, images) for number in range(len(self.runs))]
        first = [of.features for of in stored[0][:-1]]
        on_disk = first[0].beside(*first[1:]) if first else None
        if on_disk is None or on_disk.n_blocks < 2:
            return self._inputs([[of.X for of in found] for found in stored])
        if self.norm:
            on_disk = on_disk.beside(FeatureParts([[ArrayPart(_norms(first))]]))
        return on_disk, self._log_proba([found[-1].X for found in stored])

    def _stored(self, number: int, X: np.ndarray, images: str) -> list[Stored]:
        """Return what a network gives, from the store or to the store."""
        cut, run = self._cuts[number], self.runs[number]
        places = [cut.find(name) for name in ([] if number else self.layers)] + [cut.find("output")]
        specs = [
            FeatureSpec(
                layer=place.name,
                trunk=cut.digest(place.name),
                width=place.width,
                pixels=self.networks[number].pixels_,
                images=images,
                rows=len(X),
            )
            for place in places
        ]

        def compute(start: int, stop: int, wanted: Sequence[int]) -> Sequence[np.ndarray]:
            found = run(X[start:stop])
            return [found[i] for i in wanted]

        assert self.store is not None
        return self.store.extract(specs, compute, chunk=CHUNKS[-1])

    def _inputs(self, outputs: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Put together what the networks return: features of the first, log-probabilities of all."""
        found = list(outputs[0][:-1])
        log_proba = self._log_proba([of[-1] for of in outputs])
        if not self.layers:
            return log_proba, log_proba
        if self.norm:
            found.append(_norm(found))
        features = found[0] if len(found) == 1 else np.concatenate(found, axis=1)
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise FeatureError(
                f"{', '.join(self.layers)}: NaN or infinite features for image {int(np.argmin(finite))} "
                f"({int((~finite).sum())} such images in all); the CNN's weights are damaged, its training "
                "diverged, or its half precision cannot hold such values"
            )
        return features, log_proba

    def _log_proba(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        logs = [
            log_probabilities(probabilities(of, network.output_kind_))
            for of, network in zip(outputs, self.networks, strict=True)
        ]
        log_proba: np.ndarray = np.stack(logs).mean(axis=0, dtype=np.float32)
        return log_proba

    def grown(
        self,
        X: np.ndarray,
        codes: NDArray[np.intp],
        count: int = 1,
        augment: Augmentation | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> HeadInputs:
        """Return what trees are grown on: each image in several views."""
        how = None if augment is None else Augmentation.of(augment)

        def seen() -> Iterator[np.ndarray]:
            yield X
            for k in range(1, count):
                yield X[:, :, ::-1] if how is None else how.view(whole_levels(np.asarray(X)), k, seed)

        return self._together(X, codes, seen())

    def predicted(self, X: np.ndarray, codes: NDArray[np.intp], tta: str) -> HeadInputs:
        """Return what predictions are made of: each image in the views at test time."""
        return self._together(X, codes, views(X, tta))

    def _together(self, X: np.ndarray, codes: NDArray[np.intp], seen: Iterator[np.ndarray]) -> HeadInputs:
        features, logs = zip(*(self.all(view) for view in seen), strict=True)
        n = len(features)
        first, *others = features
        together = first.below(*others) if isinstance(first, FeatureParts) else np.concatenate(features)
        return HeadInputs(together, np.concatenate(logs), np.tile(codes, n), np.tile(groups_of(X), n))

    def views(self, X: np.ndarray, tta: str) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Give features and log-probabilities of every view at test time, a chunk of images at a time."""
        step = largest_chunk(X.shape[1:])
        for start in range(0, len(X), step):
            rows = slice(start, min(start + step, len(X)))
            for view in views(X[rows], tta):
                yield rows, *self(view)


def _norm(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the length of each row over all layers, as a column."""
    squares = np.sum([np.square(part, dtype=np.float64).sum(axis=1) for part in parts], axis=0)
    lengths: np.ndarray = np.sqrt(squares).astype(np.float32)[:, None]
    return lengths


def _norms(parts: Sequence[FeatureParts]) -> np.ndarray:
    """Do the same for features on the disk."""
    step = CHUNKS[-1]
    starts = range(0, len(parts[0]), step)
    return np.concatenate(
        [_norm([part.read(at, min(at + step, len(part))) for part in parts]) for at in starts]
    )
