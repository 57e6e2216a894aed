"""The two files of a saved head: `<name>.ubj` with the trees, `<name>.json` with everything else."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from sklearn.utils.validation import check_is_fitted

from cnnboost.boost.params import count_threads
from cnnboost.errors import StoreError
from cnnboost.files import CHECKSUM, digest_of, parsed_json, write_bytes, write_json

if TYPE_CHECKING:
    from cnnboost.boost.classifier import BoostClassifier

FORMAT = 1
_Dtype = Literal[
    "object", "str", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
]  # fmt: skip
_KINDS: dict[str, type] = {"str": str, "bool": bool, "int": int, "float": float}
#: A `.json` of a head with a thousand classes and rounds takes a few hundred kilobytes.
_MOST_JSON_BYTES = 16 << 20
_REMEDY = "a head is saved as .ubj and .json: keep them together, or save the head again"


class HeadFacts(BaseModel):
    """What stands in the `.json` of a head."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    kind: Literal["cnnboost head"]
    classes: list[Any]
    classes_kind: Literal["str", "bool", "int", "float"]
    classes_dtype: _Dtype
    parameters: dict[str, Any]
    n_features: int
    feature_names: list[str] | None
    n_estimators: int
    best_iteration: int
    evals_result: dict[str, dict[str, list[float]]]
    seed: int
    device: str
    versions: dict[str, str]
    ubj_sha256: str
    ubj_bytes: int
    details: dict[str, Any]
    #: Newer than the format: heads written before have no margins.
    needs_margin: bool = False
    facts_sha256: str


class SavedHead:
    """Lets a head write itself to files, and come back from them."""

    def save(self, path: str | Path, *, details: Mapping[str, Any] | None = None) -> Path:
        """Write the head to `<name>.ubj`, and what else it needs to `<name>.json` beside it.

        Parameters
        ----------
        path : path-like
            The `.ubj` file to write; the ending may be left out.
        details : mapping, optional
            Further metadata for the `.json`: what the features were made from, say. `load` gives them back as
            `details_`.

        Returns
        -------
        Path
            The `.ubj` file.

        Raises
        ------
        StoreError
            If the files cannot be written, or a label or parameter has no place in JSON.
        """
        check_is_fitted(self, "booster_")
        return write_head(cast("BoostClassifier", self), Path(path), details or {})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a head that `save` wrote.

        The `.ubj` is compared with the checksum in its `.json` before XGBoost sees any of it; nothing is
        unpickled. That finds damage, not malice: XGBoost trusts what it parses, and a forged file with a
        right checksum can crash the process or worse. Load only heads from people whom you trust.

        Parameters
        ----------
        path : path-like
            The `.ubj` file; the ending may be left out.

        Returns
        -------
        BoostClassifier
            Fitted; it gives the same probabilities as the one that was saved.

        Raises
        ------
        StoreError
            If a file is missing, altered, truncated, foreign, or of a newer format.
        """
        head = cls()
        read_head(cast("BoostClassifier", head), Path(path))
        return head


def write_head(head: BoostClassifier, path: Path, details: Mapping[str, Any]) -> Path:
    """Write a fitted head; see `BoostClassifier.save`."""
    ubj, sidecar = _pair(path)
    trees = bytes(head.booster_.save_raw("ubj"))
    classes = head.classes_.tolist()
    kind = next((name for name, of in _KINDS.items() if all(type(label) is of for label in classes)), None)
    if kind is None:
        raise StoreError(
            f"{ubj}: the classes {classes!r} cannot be saved; use labels that are all strings, all integers, "
            "all floats or all booleans"
        )
    names = getattr(head, "feature_names_in_", None)
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "kind": "cnnboost head",
        "classes": classes,
        "classes_kind": kind,
        "classes_dtype": "str" if head.classes_.dtype.kind == "U" else head.classes_.dtype.name,
        "parameters": _portable(head, ubj),
        "n_features": head.n_features_in_,
        "feature_names": None if names is None else names.tolist(),
        "n_estimators": head.n_estimators_,
        "best_iteration": head.best_iteration_,
        "evals_result": head.evals_result_,
        "seed": head.seed_,
        "device": head.device_,
        "versions": {name: _version(name) for name in ("cnnboost", "xgboost", "scikit-learn", "numpy")},
        "ubj_sha256": hashlib.sha256(trees).hexdigest(),
        "ubj_bytes": len(trees),
        "details": dict(details),
    }
    if head.needs_margin_:
        metadata["needs_margin"] = True
    write_bytes(ubj, trees)
    write_json(sidecar, metadata)
    return ubj


def read_head(head: BoostClassifier, path: Path) -> None:
    """Fill a new head from its files; see `BoostClassifier.load`."""
    import xgboost

    ubj, sidecar = _pair(path)
    metadata = _read_metadata(sidecar)
    trees = _read_trees(ubj, sidecar, metadata)
    try:
        # The bytes are those that XGBoost wrote, so they are fit for its parser, which trusts them.
        booster = xgboost.Booster({"device": "cpu"})
        booster.load_model(bytearray(trees))
        model = json.loads(booster.save_config())["learner"]["learner_model_param"]
    # ValueError: names in it are not UTF-8. KeyError: it lacks what a head of classes has.
    except (xgboost.core.XGBoostError, ValueError, KeyError) as error:
        reason = str(error).split("Stack trace")[0].strip()
        raise StoreError(
            f"{ubj}: XGBoost {xgboost.__version__} cannot read the trees that XGBoost "
            f"{metadata.versions.get('xgboost', 'of unknown version')} wrote ({reason}); install that version"
        ) from error
    found = (int(model["num_class"]), booster.num_features(), booster.num_boosted_rounds())
    stated = (len(metadata.classes), metadata.n_features, metadata.n_estimators)
    if found != stated:
        raise StoreError(
            f"{ubj} and {sidecar.name} are of different heads: classes, features and rounds are {found} "
            f"in the one and {stated} in the other; save the head anew"
        )
    try:
        head.classes_ = np.array(metadata.classes, dtype=metadata.classes_dtype)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"{sidecar}: its classes are no {metadata.classes_dtype!r} (classes_dtype)"
        ) from error
    try:
        head.set_params(**_own(metadata.parameters))
        booster.set_param({"nthread": count_threads(head.n_jobs)})
    except (TypeError, ValueError) as error:
        raise StoreError(f"{sidecar}: its parameters do not fit this version ({error})") from error
    head.booster_ = booster
    head.n_features_in_ = metadata.n_features
    if metadata.feature_names is not None:
        head.feature_names_in_ = np.array(metadata.feature_names, dtype=object)
    head.n_estimators_ = metadata.n_estimators
    head.best_iteration_ = metadata.best_iteration
    head.evals_result_ = metadata.evals_result
    head.seed_ = metadata.seed
    head.needs_margin_ = metadata.needs_margin
    head.device_ = metadata.device
    head.details_ = metadata.details


def _pair(path: Path) -> tuple[Path, Path]:
    ubj = path if path.suffix == ".ubj" else path.with_name(path.name + ".ubj")
    return ubj, ubj.with_suffix(".json")


def _read_metadata(sidecar: Path) -> HeadFacts:
    document = parsed_json(sidecar, _REMEDY, _MOST_JSON_BYTES)
    version = document.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise StoreError(f"{sidecar} has format {version}, this version reads {FORMAT}; update cnnboost")
    try:
        metadata = HeadFacts.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the document"
        raise StoreError(f"{sidecar} does not describe a head: {place}: {first['msg']}") from error
    stated = {key: value for key, value in document.items() if key != CHECKSUM}
    if digest_of(stated) != metadata.facts_sha256:
        raise StoreError(f"{sidecar} was altered after it was written (checksum); save the head anew")
    if metadata.format != FORMAT or not all(
        type(label) is _KINDS[metadata.classes_kind] for label in metadata.classes
    ):
        raise StoreError(f"{sidecar} contradicts itself in format or classes_kind; save the head anew")
    return metadata


def _read_trees(ubj: Path, sidecar: Path, metadata: HeadFacts) -> bytes:
    try:
        size = ubj.stat().st_size
        if size != metadata.ubj_bytes:
            raise StoreError(
                f"{ubj} has {size} bytes where {sidecar.name} states {metadata.ubj_bytes}: truncated or "
                "altered; save the head anew"
            )
        trees = ubj.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            f"{ubj} is missing; a head is saved as .ubj and .json, keep them together"
        ) from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{ubj} cannot be read: {error.strerror}") from error
    if hashlib.sha256(trees).hexdigest() != metadata.ubj_sha256:
        raise StoreError(f"{ubj} does not match the checksum in {sidecar.name}: altered; save the head anew")
    return trees


def _portable(head: BoostClassifier, ubj: Path) -> dict[str, Any]:
    """Turn the parameters into what JSON can hold; `_own` turns them back."""
    parameters = head.get_params(deep=False)
    if isinstance(parameters["random_state"], np.random.RandomState):
        # Its state is spent; the seed that was drawn from it grows the same trees again.
        parameters["random_state"] = head.seed_
    if isinstance(parameters["class_weight"], Mapping):
        # The keys of a JSON object are strings only.
        parameters["class_weight"] = [[label, factor] for label, factor in parameters["class_weight"].items()]
    for name, value in parameters.items():
        try:
            parameters[name] = json.loads(json.dumps(value, default=_plain, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"{ubj}: parameter {name}={value!r} cannot be saved as JSON ({error})"
            ) from error
    return parameters


def _own(parameters: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(parameters)
    if isinstance(own.get("class_weight"), list):
        own["class_weight"] = dict(own["class_weight"])
    return own


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping | range):
        return dict(value) if isinstance(value, Mapping) else list(value)
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
