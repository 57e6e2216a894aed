"""CNN architectures: a registry of builder functions, one file per family.

A builder takes `input_shape` (height, width, channels), `n_classes`, and keyword options with defaults, and
returns an uncompiled `keras.Model` that maps pixels in [0, 255] to class probabilities.
"""

# Importing a family enters its builders into the registry.
from cnnboost.cnn.architectures import digits, efficientnet, imperial, linear, oslo, vgg, vgg19  # noqa: F401
from cnnboost.cnn.architectures.registry import ARCHITECTURES, build, register, without_weights

__all__ = ["ARCHITECTURES", "build", "register", "without_weights"]
