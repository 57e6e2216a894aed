"""Model files as Keras 2 wrote them, small and by hand: Keras 2 itself is not installed for the tests."""

import json
import zipfile

import h5py
import numpy as np


def layer(kind, name, *nodes, **config):
    """Return a layer of a functional model; `nodes` are its calls as Keras 2 stored them."""
    return {
        "class_name": kind,
        "name": name,
        "config": {"name": name, **config},
        "inbound_nodes": list(nodes),
    }


def image_input(shape=(6, 6, 3), name="image"):
    return layer("InputLayer", name, batch_input_shape=[None, *shape], dtype="float32", ragged=False)


def functional(layers, name="model"):
    config = {
        "name": name,
        "layers": layers,
        "input_layers": [[layers[0]["name"], 0, 0]],
        "output_layers": [[layers[-1]["name"], 0, 0]],
    }
    return {"class_name": "Functional", "config": config}


def sequential(*layers, **more):
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": list(layers), **more}}


def write_h5(path, config, weights=(), version="2.3.1"):
    """Write a file; `weights` are pairs of a layer's name and its arrays."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        weights = dict(weights)
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            part = group.create_group(name)
            names = [f"{name}/weight_{i}:0" for i in range(len(arrays))]
            part.attrs["weight_names"] = [text.encode() for text in names]
            for text, array in zip(names, arrays, strict=True):
                part[text] = np.asarray(array, np.float32)
    return path


def write_keras(path, config, weights, metadata):
    """Write a .keras file out of its parts."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("model.weights.h5", weights)
    return path
