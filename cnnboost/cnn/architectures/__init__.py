"""CNN architectures: a registry of builder functions.

A builder takes `input_shape` (height, width, channels), `n_classes`, and keyword options with defaults, and
returns an uncompiled `keras.Model` that maps pixels in [0, 255] to class probabilities.
"""

# Importing a module enters its builders into the registry.
from cnnboost.cnn.architectures import efficientnet, plain, vgg19  # noqa: F401
from cnnboost.cnn.architectures.registry import ARCHITECTURES, build, register, without_weights

__all__ = ["ARCHITECTURES", "build", "register", "without_weights"]
