"""CNN architectures: a registry of builder functions."""

# Importing a module enters its builders into the registry.
from cnnboost.cnn.architectures import efficientnet, plain, vgg19  # noqa: F401
from cnnboost.cnn.architectures.registry import ARCHITECTURES, build, register, without_weights

__all__ = ["ARCHITECTURES", "build", "register", "without_weights"]
