"""What a hybrid is to be made of: its networks and its parameters, checked before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from cnnboost.cnn.classifier import CNNClassifier
from cnnboost.config.limits import check_options
from cnnboost.config.tables import Hybrid
from cnnboost.errors import ModelError, ParameterError
from cnnboost.images.augment import Augmentation

_OPTIONS = ("mode", "views", "holdout", "fit_on", "folds", "tta", "norm")


def check_plan(
    parameters: Mapping[str, Any], layers: Sequence[str], network: CNNClassifier, *, validated: bool
) -> None:
    """Refuse parameters that are impossible or contradict each other, or the network or the data given."""
    if not layers or not all(isinstance(name, str) for name in layers):
        raise ParameterError(f"layer={parameters['layer']!r} names no layer; give 'fc1', or a list of names")
    if len(set(layers)) < len(layers):
        raise ParameterError(f"layer={parameters['layer']!r} names a layer twice")
    checked = {name: parameters[name] for name in _OPTIONS}
    if parameters["augment"] is not None:
        Augmentation.of(parameters["augment"])
        checked["augment"] = {}  # what is in it is checked by now
    check_options(Hybrid, {**checked, "layers": tuple(layers)})
    splitting = next((name for name in ("holdout", "folds") if parameters[name]), None)
    if splitting and is_trained(network):
        raise ParameterError(
            f"{splitting} is for a CNN that is not trained yet: which images this one has seen is not known; "
            f"pass images that it has not seen to fit, and leave {splitting} out"
        )
    if splitting and network.teacher is not None:
        raise ParameterError(
            f"{splitting} trains the CNN on a part of the images, and its teacher's log-probabilities are of "
            "all of them: train it first and give fit images that it has not seen, or leave "
            f"{splitting} or the CNN's teacher out"
        )
    both = parameters["fit_on"] == "both"
    if both and not validated:
        raise ParameterError("fit_on='both' fits heads on validation_data too, and fit was given none")
    if splitting and validated and not both:
        raise ParameterError(
            f"{splitting} and validation_data both say what the head is chosen on; leave one out, or give "
            "fit_on='both' with folds and a layer"
        )
    if parameters["mode"] != "plain" and not (is_trained(network) or splitting or validated):
        raise ParameterError(
            f"mode={parameters['mode']!r} is chosen on images that the CNN was not trained on: give "
            "holdout=0.1, folds=5 or validation_data, or a CNN that is trained already and images that it "
            "has not seen"
        )


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
