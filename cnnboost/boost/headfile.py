"""The two files of a saved head: `<name>.ubj` with the trees, `<name>.json` with everything else."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, field_validator, model_validator
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from cnnboost.boost.params import count_threads
from cnnboost.documents import Document, read_document
from cnnboost.errors import StoreError, without_trace
from cnnboost.files import reason_of, write_bytes, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from xgboost import Booster

FORMAT = 1
_DTYPE = r"^(object|str|bool|u?int(8|16|32|64)|float(16|32|64))$"
_KINDS: dict[str, type] = {"str": str, "bool": bool, "int": int, "float": float}
_REMEDY = "a head is saved as .ubj and .json: keep them together, or save the head again"
#: Attributes of a fitted head that are in its `.json` under their name without the underscore.
_ATTRIBUTES = ("n_estimators", "best_iteration", "evals_result", "seed", "device", "needs_margin", "details")


class HeadDocument(Document):
    """The `.json` of a head."""

    model_config = ConfigDict(extra="forbid")

    format: int
    kind: Literal["cnnboost head"]
    classes: list[Any]
    classes_kind: Literal["str", "bool", "int", "float"]
    classes_dtype: Annotated[str, Field(pattern=_DTYPE)]
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

    @field_validator("format")
    @classmethod
    def _readable(cls, version: int) -> int:
        if version != FORMAT:
            raise ValueError(f"format {version}, this version reads {FORMAT}; update cnnboost")
        return version

    @model_validator(mode="after")
    def _one_kind(self) -> HeadDocument:
        if not all(type(label) is _KINDS[self.classes_kind] for label in self.classes):
            raise ValueError(f"classes contradict classes_kind={self.classes_kind!r}")
        return self


class SavedHead(BaseEstimator):
    """Lets a head write itself to files, and come back from them."""

    classes_: NDArray[Any]
    booster_: Booster
    device_: str
    best_iteration_: int
    n_estimators_: int
    evals_result_: dict[str, dict[str, list[float]]]
    seed_: int
    needs_margin_: bool
    n_features_in_: int

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
        ubj, sidecar = _pair(Path(path))
        trees = bytes(self.booster_.save_raw("ubj"))
        classes = self.classes_.tolist()
        kinds = [name for name, kind in _KINDS.items() if all(type(label) is kind for label in classes)]
        if not kinds:
            raise StoreError(
                f"{ubj}: the classes {classes!r} cannot be saved; use labels that are all strings, all "
                "integers, all floats or all booleans"
            )
        names = getattr(self, "feature_names_in_", None)
        metadata = {
            "format": FORMAT,
            "kind": "cnnboost head",
            "classes": classes,
            "classes_kind": kinds[0],
            "classes_dtype": "str" if self.classes_.dtype.kind == "U" else self.classes_.dtype.name,
            "parameters": _portable(self.get_params(deep=False), self.seed_, ubj),
            "n_features": self.n_features_in_,
            "feature_names": None if names is None else names.tolist(),
            "versions": {name: _version(name) for name in ("cnnboost", "xgboost", "scikit-learn", "numpy")},
            "ubj_sha256": hashlib.sha256(trees).hexdigest(),
            "ubj_bytes": len(trees),
            **{name: getattr(self, f"{name}_") for name in _ATTRIBUTES if name != "details"},
            "details": dict(details or {}),
        }
        if not metadata["needs_margin"]:
            del metadata["needs_margin"]
        write_bytes(ubj, trees)
        write_json(sidecar, metadata)
        return ubj

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
        ubj, sidecar = _pair(Path(path))
        metadata = HeadDocument.model_validate(read_document(sidecar, HeadDocument, _REMEDY, checksum=True))
        booster = _read_booster(ubj, sidecar, metadata)
        head = cls()
        try:
            head.classes_ = np.array(metadata.classes, dtype=metadata.classes_dtype)
        except (TypeError, ValueError) as error:
            raise StoreError(f"{sidecar}: its classes do not fit its classes_dtype; {_REMEDY}") from error
        parameters = dict(metadata.parameters)
        try:
            if isinstance(parameters.get("class_weight"), list):
                parameters["class_weight"] = dict(parameters["class_weight"])
            head.set_params(**parameters)
            booster.set_param({"nthread": count_threads(head.n_jobs)})
        except (TypeError, ValueError) as error:
            raise StoreError(f"{sidecar}: its parameters do not fit this version ({error})") from error
        head.booster_ = booster
        head.n_features_in_ = metadata.n_features
        if metadata.feature_names is not None:
            head.feature_names_in_ = np.array(metadata.feature_names, dtype=object)
        for name in _ATTRIBUTES:
            setattr(head, f"{name}_", getattr(metadata, name))
        return head


def _pair(path: Path) -> tuple[Path, Path]:
    ubj = path if path.suffix == ".ubj" else path.with_name(path.name + ".ubj")
    return ubj, ubj.with_suffix(".json")


def _read_booster(ubj: Path, sidecar: Path, metadata: HeadDocument) -> Any:
    """Let XGBoost read the trees, which must be those that the `.json` describes."""
    import xgboost

    try:
        # Its size first: nothing is read of a file that cannot be the right one.
        trees = ubj.read_bytes() if ubj.stat().st_size == metadata.ubj_bytes else None
    except FileNotFoundError as error:
        raise StoreError(f"{ubj} is missing; {_REMEDY}") from error
    except OSError as error:
        raise StoreError(f"{ubj} cannot be read: {reason_of(error)}") from error
    if trees is None or hashlib.sha256(trees).hexdigest() != metadata.ubj_sha256:
        raise StoreError(
            f"{ubj} does not match the checksum in {sidecar.name}: truncated or altered; {_REMEDY}"
        )
    try:
        # The bytes are those that XGBoost wrote, so they are fit for its parser, which trusts them.
        booster = xgboost.Booster({"device": "cpu"})
        booster.load_model(bytearray(trees))
        model = json.loads(booster.save_config())["learner"]["learner_model_param"]
    # ValueError: names in it are not UTF-8. KeyError: it lacks what a head of classes has.
    except (xgboost.core.XGBoostError, ValueError, KeyError) as error:
        raise StoreError(
            f"{ubj}: XGBoost {xgboost.__version__} cannot read the trees that XGBoost "
            f"{metadata.versions.get('xgboost', 'of unknown version')} wrote ({without_trace(error)}); "
            "install that version"
        ) from error
    found = (int(model["num_class"]), booster.num_features(), booster.num_boosted_rounds())
    stated = (len(metadata.classes), metadata.n_features, metadata.n_estimators)
    if found != stated:
        raise StoreError(
            f"{ubj} and {sidecar.name} are of different heads: classes, features and rounds are {found} "
            f"in the one and {stated} in the other; {_REMEDY}"
        )
    return booster


def _portable(parameters: dict[str, Any], seed: int, ubj: Path) -> dict[str, Any]:
    """Turn the parameters into what JSON can hold."""
    if isinstance(parameters["random_state"], np.random.RandomState):
        # Its state is spent; the seed that was drawn from it grows the same trees again.
        parameters["random_state"] = seed
    if isinstance(parameters["class_weight"], Mapping):
        # The keys of a JSON object are strings only.
        parameters["class_weight"] = list(parameters["class_weight"].items())
    for name, value in parameters.items():
        try:
            parameters[name] = json.loads(json.dumps(value, default=_plain, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"{ubj}: parameter {name}={value!r} cannot be saved as JSON ({error})"
            ) from error
    return parameters


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping | range):
        return dict(value) if isinstance(value, Mapping) else list(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
