"""The networks of a hybrid, from whatever stands for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from cnnboost.cnn.classifier import CNNClassifier
from cnnboost.errors import ModelError


def given_networks(cnn: Any, pixels: str | None, classes: Sequence[Any] | None) -> list[CNNClassifier]:
    """Take networks as they are given: trained ones to use, or one to train."""
    several = isinstance(cnn, list | tuple)
    found = [_network(one, pixels, classes) for one in (cnn if several else [cnn])]
    if not found:
        raise ModelError("cnn=[] names no network; give a path, a Keras model or a CNNClassifier")
    untrained = [i for i, network in enumerate(found) if not is_trained(network)]
    if untrained and several:
        raise ModelError(
            f"network {untrained[0]} of {len(found)} is not trained; several networks are used as they are: "
            "fit each first, or give one network and folds=K"
        )
    for i, network in enumerate(found[1:], 1):
        if not np.array_equal(network.classes_, found[0].classes_):
            raise ModelError(
                f"network {i} knows the classes {list(network.classes_)} and the first one "
                f"{list(found[0].classes_)}; networks of a hybrid know the same ones, in the same order"
            )
    return found


def is_trained(network: CNNClassifier) -> bool:
    """Tell whether a network is trained."""
    return hasattr(network, "model_")


def _network(given: Any, pixels: str | None, classes: Sequence[Any] | None) -> CNNClassifier:
    if isinstance(given, FrozenEstimator):
        given = given.estimator
        if isinstance(given, CNNClassifier) and not is_trained(given):
            raise ModelError("the frozen CNN is not trained: fit it before it is frozen")
    if isinstance(given, CNNClassifier):
        return given
    if isinstance(given, str | os.PathLike):
        return CNNClassifier.load(given, classes=classes, pixels=pixels)
    if hasattr(given, "predict_on_batch"):
        return CNNClassifier.from_model(given, classes=classes, pixels=pixels)
    raise ModelError(f"cnn={given!r} is neither a path, a Keras model nor a CNNClassifier (frozen or not)")
