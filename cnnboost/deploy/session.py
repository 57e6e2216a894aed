"""A session of ONNX Runtime on an exported graph, after the graph was compared with what its file says."""

from __future__ import annotations

import json
import os
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from cnnboost.deploy.checksum import FACTS_KEY
from cnnboost.errors import ModelError, StoreError
from cnnboost.images.decode import InputSpec

FORMAT = 1
KINDS = ("hybrid", "cnn")
#: The graphs of a bundle, each in a file of its name; `int8` is the hybrid in 8-bit integers.
GRAPHS = (*KINDS, "int8")
ENGINE_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    UnicodeDecodeError,
    *(value for value in vars(_state).values() if isinstance(value, type) and issubclass(value, Exception)),
)
"""What ONNX Runtime raises; the one of text, where a file holds names that are not UTF-8."""


#: Without a limit, ONNX Runtime's threads spin for tens of milliseconds after a call: trees that XGBoost
#: evaluates right after it then take up to thirty times as long.
_AWAKE_US = "100"


def open_session(
    model: bytes, threads: int, place: str
) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Open a session on a file whose seal was checked.

    Its threads stay awake for 100 microseconds after a call: enough for calls that follow each other, too
    short to take the cores from other libraries between two calls.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; nothing is printed besides
    options.add_session_config_entry("session.intra_op.spin_duration_us", _AWAKE_US)
    # A graph from elsewhere could have the content of any file here taken for its weights.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", f"{os.devnull}/none"
    )
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        details = _details(session.get_modelmeta().custom_metadata_map.get(FACTS_KEY), place)
        _check_graph(session, InputSpec(**details["input"]), len(details["classes"]), place)
    except ENGINE_ERRORS as error:
        if "xternal data" in str(error):
            raise ModelError(
                f"{place} keeps weights in other files, which are not read; export it again "
                "('cnnboost export'), or save it with all of its weights"
            ) from error
        raise ModelError(f"{place}: ONNX Runtime cannot read the graph: {brief(error)}") from error
    return session, details


def brief(error: Exception) -> str:
    """Return the message of an error of ONNX Runtime, in one line."""
    return " ".join(str(error).split())[:300]


def _details(text: str | None, place: str) -> dict[str, Any]:
    """Return what the file says about itself."""
    try:
        metadata = json.loads(text) if text else None
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise StoreError(f"{place} does not say what it is: its entry {FACTS_KEY!r} is missing or no JSON")
    if metadata.get("format") != FORMAT:
        raise StoreError(
            f"{place} has format {metadata.get('format')!r}, this version reads {FORMAT}; update cnnboost"
        )
    classes, shape = metadata.get("classes"), metadata.get("input")
    sound = {
        "kind": metadata.get("kind") in KINDS,
        "classes": isinstance(classes, list)
        and len(set(map(str, classes))) == len(classes) > 1
        and {type(name) for name in classes} in ({str}, {int}, {float}, {bool}),
        "input": isinstance(shape, dict)
        and shape.keys() == set(InputSpec._fields)
        and all(type(size) is int and size > 0 for size in shape.values())
        and shape["channels"] in (1, 3),
        # A CNN that was exported by itself is not cut.
        "layer": isinstance(metadata.get("layer"), str | None),
        "mode": isinstance(metadata.get("mode"), str | None),
        "int8": isinstance(metadata.get("int8", False), bool),
    }
    for key, good in sound.items():
        if not good:
            raise StoreError(
                f"{place} states {key} = {metadata.get(key)!r}, which cannot be; export it again "
                "('cnnboost export')"
            )
    return metadata


def _check_graph(session: onnxruntime.InferenceSession, spec: InputSpec, k: int, place: str) -> None:
    """Compare the graph with what the file says about it."""
    inputs = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    outputs = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
    wanted = {"image": ("tensor(uint8)", list(spec))}
    if inputs != wanted:
        raise ModelError(f"{place} states images of {spec}, its graph takes {_signature(inputs)}")
    if outputs.get("probabilities") != ("tensor(float)", [k]):
        raise ModelError(f"{place} states {k} classes, its graph gives {_signature(outputs)}")


def _signature(nodes: dict[str, tuple[str, list[Any]]]) -> str:
    return ", ".join(f"{name} {kind} [n, {', '.join(map(str, s))}]" for name, (kind, s) in nodes.items())
