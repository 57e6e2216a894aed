"""EfficientNetV2-S, whole or scaled down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field, validate_call

from cnnboost.cnn.architectures.registry import Coefficient, Share, Whole, register


class _Stage(NamedTuple):
    filters: int
    repeats: int
    stride: int
    expansion: int
    squeeze: float


_STEM = 24
# Table 4 of the paper. A stage with squeeze-and-excitation is of MBConv blocks, one without of fused ones.
_STAGES = {
    1: _Stage(24, 2, 1, 1, 0.0),
    2: _Stage(48, 4, 2, 4, 0.0),
    3: _Stage(64, 4, 2, 4, 0.0),
    4: _Stage(128, 6, 2, 4, 0.25),
    5: _Stage(160, 9, 1, 6, 0.25),
    6: _Stage(256, 15, 2, 6, 0.25),
}
_DIVISOR = 8


@register("efficientnetv2")
@validate_call
def efficientnetv2(
    input_shape: tuple[int, int, int],
    n_classes: int,
    width_coefficient: Coefficient = 1.0,
    depth_coefficient: Coefficient = 1.0,
    top_filters: Whole = 1280,
    dropout: Share = 0.2,
    drop_stages: Sequence[Annotated[Whole, Field(le=6)]] = (),
    stochastic_depth: Share = 0.0,
) -> Any:
    """Build EfficientNetV2-S from its stage table, or a scaled-down version of it.

    M. Tan and Q. V. Le, "EfficientNetV2: Smaller Models and Faster Training", ICML 2021, table 4: a 3x3
    convolution of 24 filters with stride 2, three stages of fused MBConv blocks, three of MBConv blocks with
    squeeze-and-excitation, a 1x1 convolution of 1280 filters, then global average pooling (`flatten`),
    dropout and the softmax output; batch normalisation after every convolution, SiLU after all but the last
    of a block. 20,339,895 parameters for 48x48x1 images and seven classes; for three channels and without
    the output layer 20,331,360, as many as `keras.applications.EfficientNetV2S`, which it equals value for
    value when it is given its weights. Pixels are scaled to [-1, 1) as there.

    The UBI study of facial expressions scales it down by leaving out stages 5 and 6: 2,016,175 parameters for
    48x48x1 images, seven classes, and everything else as above.
    """
    import keras

    stages = {
        number: stage._replace(
            filters=_rounded(stage.filters * width_coefficient),
            repeats=math.ceil(stage.repeats * depth_coefficient),
        )
        for number, stage in _STAGES.items()
        if number not in drop_stages
    }
    if not stages:
        raise ValueError(f"drop_stages={list(drop_stages)!r} must leave one of the stages 1 to 6")
    n_blocks = sum(stage.repeats for stage in stages.values())
    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 128, offset=-1, name="pixels")(x)
    x = _conv(x, _rounded(_STEM * width_coefficient), 3, 2, name="stage0")
    done = 0
    for number, stage in stages.items():
        for i in range(stage.repeats):
            skipped = stochastic_depth * done / n_blocks
            stride = stage.stride if i == 0 else 1
            x = _block(x, stage._replace(stride=stride), skipped, f"stage{number}_block{i + 1}")
            done += 1
    x = _conv(x, top_filters, 1, 1, name="stage7")
    x = layers.GlobalAveragePooling2D(name="flatten")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(
        n_classes,
        activation="softmax",
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform"),
        name="output",
    )(x)
    return keras.Model(image, x, name="efficientnetv2")


def _rounded(filters: float) -> int:
    """Return the multiple of 8 that is nearest, 8 at least, as published."""
    return max(_DIVISOR, int(filters + _DIVISOR / 2) // _DIVISOR * _DIVISOR)


def _block(x: Any, stage: _Stage, skipped: float, name: str) -> Any:
    """Return an MBConv block, or a fused one."""
    import keras

    layers = keras.layers
    start, width = x, x.shape[-1]
    inner = width * stage.expansion
    if stage.squeeze:
        if stage.expansion != 1:
            x = _conv(x, inner, 1, 1, name=f"{name}_expand")
        x = _conv(x, None, 3, stage.stride, name=f"{name}_depthwise")
        x = _squeeze_and_excite(x, max(1, int(width * stage.squeeze)), name)
        x = _conv(x, stage.filters, 1, 1, name=f"{name}_project", activation=False)
    elif stage.expansion != 1:
        x = _conv(x, inner, 3, stage.stride, name=f"{name}_expand")
        x = _conv(x, stage.filters, 1, 1, name=f"{name}_project", activation=False)
    else:
        x = _conv(x, stage.filters, 3, stage.stride, name=f"{name}_project")
    if stage.stride == 1 and stage.filters == width:
        if skipped:
            # One draw an image drops the whole branch: stochastic depth.
            x = layers.Dropout(skipped, noise_shape=(None, 1, 1, 1), name=f"{name}_skip")(x)
        x = layers.Add(name=f"{name}_add")([x, start])
    return x


def _conv(
    x: Any, filters: int | None, window: int, stride: int, *, name: str, activation: bool = True
) -> Any:
    """Return convolution (depthwise without `filters`), batch normalisation and SiLU."""
    import keras

    layers = keras.layers
    shared = {"padding": "same", "use_bias": False, "name": f"{name}_conv"}
    if filters is None:
        convolution = layers.DepthwiseConv2D(window, stride, depthwise_initializer=_initial(), **shared)
    else:
        convolution = layers.Conv2D(filters, window, stride, kernel_initializer=_initial(), **shared)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(convolution(x))
    return layers.Activation("silu", name=f"{name}_silu")(x) if activation else x


def _squeeze_and_excite(x: Any, narrow: int, name: str) -> Any:
    """Weigh the channels by what the whole map says of them."""
    import keras

    layers = keras.layers
    # Convolutions and no Dense layers: the map of one pixel needs no change of shape.
    s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    s = layers.Conv2D(narrow, 1, activation="silu", kernel_initializer=_initial(), name=f"{name}_reduce")(s)
    s = layers.Conv2D(
        x.shape[-1], 1, activation="sigmoid", kernel_initializer=_initial(), name=f"{name}_excite"
    )(s)
    return layers.Multiply(name=f"{name}_weigh")([x, s])


def _initial() -> Any:
    import keras

    return keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")
