"""The network as it is trained, where that differs from the network that is kept.

A twin has the same layers and weights; it takes images of any size (progressive resizing), or computes in
bfloat16 while its weights stay float32 (mixed precision). The network that is kept is never changed but in
its weights, so what is saved does not depend on how it was trained.
"""

from __future__ import annotations

from typing import Any

from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError


def twin_of(model: Any, options: TrainingOptions) -> Any:
    """Return the network to train.

    Parameters
    ----------
    model : keras.Model
    options : TrainingOptions

    Returns
    -------
    keras.Model
        `model` itself where the options ask for nothing that a twin is for; else a copy with its weights.

    Raises
    ------
    ParameterError
        If the network's weights depend on the size of the images, or it cannot be copied layer by layer.
    """
    import keras

    if not options.progressive_resizing and options.precision == "float32":
        return model
    if not isinstance(model, keras.Sequential) and not hasattr(model, "input_shape"):
        raise ParameterError(
            f"progressive_resizing and precision need a network made of layers; {model.name!r} is a class of "
            "its own"
        )
    size = (None, None) if options.progressive_resizing else model.input_shape[1:3]
    image = keras.Input((*size, model.input_shape[-1]), name="image")
    policy = keras.dtype_policies.get(
        "mixed_bfloat16" if options.precision == "bfloat16" else options.precision
    )
    last = model.layers[-1]

    def copy(layer: Any) -> Any:
        config = layer.get_config()
        # Probabilities and their logarithms want the digits that bfloat16 has not.
        if layer is not last and "dtype" in config:
            config["dtype"] = policy
        return type(layer).from_config(config)

    try:
        twin = keras.models.clone_model(model, input_tensors=image, clone_function=copy)
        twin.set_weights(model.get_weights())
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"the network {model.name!r} cannot be trained with progressive_resizing or another precision: "
            f"{str(error).splitlines()[0]}. Images of changing size need a network that ends in global "
            "pooling, such as 'vgg'"
        ) from error
    return twin
