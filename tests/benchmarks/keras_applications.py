"""Cuts every network of keras.applications and compares each cut with Keras' own activations.

    python -m tests.benchmarks.keras_applications [--out results.json] [--onnx] [NAME ...]

Weights are random. Each network is built for the smallest images that it takes, with its preprocessing
outside and inside, saved, read again, and cut at every structural name and some Keras names. The difference
is the largest over all of them, relative to the largest activation of its layer. With --onnx the smallest
network of each family is also exported, and the graphs' parity is checked.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime

from cnnboost.cnn.inference import Inference
from cnnboost.cnn.model_file import read_model
from cnnboost.deploy.graph import cnn_graph
from cnnboost.deploy.graph_builder import IMAGE, PROBABILITIES, GraphBuilder
from cnnboost.deploy.graph_file import serialise
from cnnboost.deploy.network_graph import add_network
from cnnboost.deploy.parity import check_parity, limits_of
from cnnboost.errors import CnnboostError
from cnnboost.features.cut import Cut

CLASSES, IMAGES, EXPORTED, KERAS_NAMES = 5, 2, 16, 3
#: Where preprocess_input of a network is found, and the smallest network of each family.
FAMILIES = {
    "vgg16": ["VGG16"],
    "vgg19": ["VGG19"],
    "resnet": ["ResNet50", "ResNet101", "ResNet152"],
    "resnet_v2": ["ResNet50V2", "ResNet101V2", "ResNet152V2"],
    "inception_v3": ["InceptionV3"],
    "inception_resnet_v2": ["InceptionResNetV2"],
    "xception": ["Xception"],
    "mobilenet": ["MobileNet"],
    "mobilenet_v2": ["MobileNetV2"],
    "mobilenet_v3": ["MobileNetV3Small", "MobileNetV3Large"],
    "densenet": ["DenseNet121", "DenseNet169", "DenseNet201"],
    "nasnet": ["NASNetMobile", "NASNetLarge"],
    "efficientnet": [f"EfficientNetB{number}" for number in range(8)],
    "efficientnet_v2": [f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")],
    "convnext": [f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")],
}
#: Others of their families have the same layers in greater number.
GIANTS = {
    "NASNetLarge", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge", "EfficientNetB5", "EfficientNetB6",
    "EfficientNetB7", "EfficientNetV2M", "EfficientNetV2L", "ResNet152", "ResNet152V2",
}  # fmt: skip
POLICIES = {"mixed_float16": ["MobileNetV2", "ResNet50"], "mixed_bfloat16": ["MobileNetV3Small"],
            "float16": ["MobileNet"]}  # fmt: skip


def build(name: str, seed: int = 0) -> Any:
    """Build a network of keras.applications for the smallest images that it takes."""
    keras.utils.set_random_seed(seed)
    for size in (32, 48, 64, 71, 75, 96):
        try:
            model = getattr(keras.applications, name)(
                weights=None, input_shape=(size, size, 3), classes=CLASSES
            )
        except ValueError as error:
            refusal = error
            continue
        rng = np.random.default_rng(seed)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                mean, variance = layer.moving_mean, layer.moving_variance
                mean.assign(rng.normal(0, 0.1, mean.shape))
                variance.assign(rng.uniform(0.5, 1.5, variance.shape))
        return model
    raise refusal


def with_preprocessing(model: Any, family: str) -> Any:
    """Put the network's own preprocessing before it."""
    image = keras.Input(model.input_shape[1:])
    return keras.Model(image, model(getattr(keras.applications, family).preprocess_input(image * 1.0)))


def difference(model: Any, images: np.ndarray, inner: str | None = None) -> dict[str, float]:
    """Return the largest difference of each cut from Keras' own activation, relative to the largest one."""
    cut = Cut(model)
    base = model.get_layer(inner) if inner else model
    places = {_plain(place.keras_name): place for place in cut.layers if place.name != "input"}
    layers = [layer for layer in base.layers if layer.name in places and len(layer._inbound_nodes) >= 1]
    named = [_plain(place.keras_name) for place in cut.named if place.name != "input"]
    some = [layers[i].name for i in np.linspace(1, len(layers) - 2, KERAS_NAMES).astype(int)]
    chosen = [layer for layer in layers if layer.name in {*named, *some}]
    own_model = keras.Model(base.input, [layer.output for layer in chosen])
    if inner:
        before = keras.Model(model.input, _input_of(model, base))
        own_model = keras.Model(model.input, own_model(before(model.input)))
    own = Inference(own_model, "raw")(images)
    ours = Inference(cut.trunk([places[layer.name].name for layer in chosen]), "raw")(images)
    found = {}
    for layer, a, b in zip(chosen, own, ours, strict=True):
        a = a.reshape(len(images), -1)
        assert a.shape == b.shape, (layer.name, a.shape, b.shape)
        assert np.isfinite(a).all(), layer.name
        found[places[layer.name].name] = float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
    return found


def _plain(path: str) -> str:
    return path.rsplit("/")[-1].removesuffix("@1")


def _input_of(model: Any, inner: Any) -> Any:
    return next(node for node in inner._inbound_nodes if node in _nodes(model)).input_tensors[0]


def _nodes(model: Any) -> list[Any]:
    return [node for nodes in model._nodes_by_depth.values() for node in nodes]


def _reloaded(model: Any, suffix: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        model.save(path)
        return read_model(path)


def check(name: str, family: str, policy: str = "float32", *, onnx: bool = False) -> dict[str, Any]:
    """Compare one network, outside and inside its preprocessing."""
    started = time.perf_counter()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build(name)
        both = {"outside": (model, None), "inside": (with_preprocessing(model, family), model.name)}
    finally:
        keras.config.set_dtype_policy(before)
    images = np.random.default_rng(1).integers(0, 256, (IMAGES, *model.input_shape[1:])).astype(np.uint8)
    found: dict[str, Any] = {"network": name, "policy": policy, "size": model.input_shape[1]}
    for where, (one, inner) in both.items():
        read = _reloaded(one, ".h5" if family in ("vgg16", "mobilenet") and where == "outside" else ".keras")
        cuts = difference(read, images, inner)
        found[where] = {"largest": max(cuts.values()), "cuts": cuts}
        if where == "inside" and onnx:
            found["onnx"] = exported(read)
    return {**found, "seconds": round(time.perf_counter() - started, 1)}


def exported(model: Any) -> dict[str, float]:
    """Export the network and its trunk; return how far their graphs are from Keras."""
    shape = model.input_shape[1:]
    rng = np.random.default_rng(2)
    gains = rng.uniform(0, 1, (EXPORTED, 1, 1, 3))
    images = (rng.integers(0, 256, (EXPORTED, *shape)) * gains).astype(np.uint8)
    limits = limits_of([model])
    graph = cnn_graph(model, pixels="raw", kind="softmax", shape=shape)
    reference = Inference(model, "raw")(images)[0]
    parity = check_parity(serialise(graph, {}), images, reference, name="cnn.onnx", limits=limits)
    builder = GraphBuilder(shape)
    trunk = Cut(model).trunk(["flatten"])
    output = add_network(builder, trunk, builder.float_image(), pixels="raw")[0]
    part = builder.model(output, trunk.output_shape[-1])
    session = onnxruntime.InferenceSession(part.SerializeToString())
    features, own = session.run([PROBABILITIES], {IMAGE: images})[0], Inference(trunk, "raw")(images)[0]
    return {
        "probabilities": max(one.largest for one in parity),
        "features": float(np.abs(features - own).max() / np.abs(own).max()),
    }


def main(arguments: list[str], say: Callable[[str], Any] = print) -> int:
    """Run the campaign; 1 where a difference is too large."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--onnx", action="store_true")
    parser.add_argument("--giants", action="store_true")
    options = parser.parse_args(arguments)
    work = [
        (name, family, "float32", options.onnx and name == names[0])
        for family, names in FAMILIES.items()
        for name in names
        if (name in options.names) or (not options.names and (options.giants or name not in GIANTS))
    ]
    family_of = {name: family for family, names in FAMILIES.items() for name in names}
    if not options.names:
        work += [(n, family_of[n], policy, options.onnx) for policy, some in POLICIES.items() for n in some]
    work.sort(key=lambda item: item[0] != FAMILIES[item[1]][0])  # one of each family first
    results, failed = [], 0
    for name, family, policy, onnx in work:
        try:
            found = check(name, family, policy, onnx=onnx)
            worst = max(found["outside"]["largest"], found["inside"]["largest"])
        except (CnnboostError, AssertionError, ValueError, RuntimeError) as error:
            found, worst = (
                {"network": name, "policy": policy, "error": f"{type(error).__name__}: {error}"},
                math.inf,
            )
        failed += worst > 1e-5
        results.append(found)
        say(f"{name:18} {policy:14} {worst:9.2g}  {found.get('onnx', '')} {found.get('error', '')[:300]}")
        if options.out:
            options.out.write_text(json.dumps(results, indent=1) + "\n")
        keras.backend.clear_session()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
