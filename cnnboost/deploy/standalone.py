"""A folder that predicts without this package: graph, labels, one script, and three packages to install."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path

from cnnboost import __version__
from cnnboost.deploy.bundle import CARD, Bundle, graph_name
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import StoreError
from cnnboost.files import read_regular, remove, write_bytes
from cnnboost.locks import alone_in

#: The oldest versions that the folder was tried with; the same as those of this package.
REQUIREMENTS = ("onnxruntime>=1.31", "numpy>=2.0", "pillow>=11.0")
_SCRIPT = "standalone_predict.py"
_FILES = frozenset({"model.onnx", "labels.json", "predict.py", "requirements.txt", CARD})
_MOST_BYTES = 1 << 31


def write_standalone(bundle: Bundle, folder: str | os.PathLike[str], *, graph: str = "hybrid") -> list[Path]:
    """Write a folder that predicts by itself.

    `python predict.py face.png` there gives the same probabilities as `Predictor`, where ONNX Runtime and
    Pillow are the same. The model card goes along, if the bundle has one.

    Parameters
    ----------
    bundle : Bundle
        See `cnnboost.deploy.bundle.read_bundle`.
    folder : path-like
        A new or empty folder, or one that was written by this function, whose files are replaced.
    graph : {"hybrid", "cnn", "int8"}
        Which graph of the bundle.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    StoreError
        If the bundle lacks the graph or is damaged, or the folder holds other files or cannot be written.
    """
    place = Path(folder)
    predictor = Predictor.load(bundle, graph=graph)  # type: ignore[arg-type] # refuses other names
    model = read_regular(bundle.members[graph_name(graph)], _MOST_BYTES)
    labels = {
        "title": bundle.manifest.get("title") or bundle.manifest["recipe"],
        "classes": predictor.names,
        "input": predictor.input._asdict(),
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "made_by": f"cnnboost {__version__}",
    }
    content = {
        "model.onnx": model,
        "labels.json": f"{json.dumps(labels, indent=2)}\n".encode(),
        "requirements.txt": "".join(f"{line}\n" for line in REQUIREMENTS).encode(),
        "predict.py": files("cnnboost.deploy").joinpath(_SCRIPT).read_bytes(),
    }
    card = bundle.folder / CARD
    if card.is_file():
        content[CARD] = read_regular(card, _MOST_BYTES)
    if place.exists():
        _check_own(place)
    with alone_in(place):
        # A kill in between leaves labels that are not about the model, which the script refuses.
        written = [write_bytes(place / name, data) for name, data in content.items()]
        if CARD not in content:  # that of another bundle may be there, or the beginning of one
            remove(place / CARD)
    return written


def _check_own(place: Path) -> None:
    """Refuse a folder that holds the files of somebody else."""
    if not place.is_dir():
        raise StoreError(f"{place} is a file; name a folder")
    # Names with a dot are temporary ones that a kill left; whoever writes the file removes them.
    names = {path.name for path in place.iterdir() if not path.name.startswith(".")}
    others = sorted(names - _FILES)
    if others or (names and "labels.json" not in names and "model.onnx" not in names):
        found = ", ".join((others or sorted(names))[:3])
        raise StoreError(f"{place} holds other files ({found}); name a new folder")
