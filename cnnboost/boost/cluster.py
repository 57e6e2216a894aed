"""Trees that grow on the workers of a Dask cluster, from features that each of them reads by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnboost.boost.blocks import refuse_non_finite
from cnnboost.cluster.connection import check_paths, check_versions
from cnnboost.cluster.training import train
from cnnboost.errors import DeviceError, ParameterError
from cnnboost.features.feature_parts import FeatureParts

if TYPE_CHECKING:
    from xgboost import Booster

    from cnnboost.boost.trees import Rows


def check_in_files(X: Any, name: str) -> None:
    """Refuse features that are in the memory of this process."""
    if not isinstance(X, FeatureParts) or not X.files:
        raise ParameterError(
            f"with client=, {name} is FeatureParts: features in files that all machines see, and not a "
            f"{type(X).__name__} in the memory of this one; save it with numpy.save in a shared folder, and "
            "open it with FeatureParts.open"
        )


def check_for_cluster(base_margin: Any, device: str) -> None:
    """Refuse what is done on one machine only."""
    if base_margin is not None:
        raise ParameterError("base_margin and client= do not go together; leave one of them out")
    if device not in ("auto", "cpu"):
        raise DeviceError(
            f"device={device!r} and client= do not go together: workers grow trees on their CPUs; use "
            "device='cpu', or leave client= out"
        )


@dataclass(frozen=True)
class FeatureRows:
    """Rows whose features lie in files that all machines see."""

    features: FeatureParts
    codes: NDArray[np.intp]
    weight: NDArray[np.float32] | None
    name: str

    @property
    def width(self) -> int:
        """Number of features."""
        return self.features.shape[1]

    def reader(self, start: int, stop: int) -> Callable[[], NDArray[np.float32]]:
        """Return a function that reads the features of a range."""
        return partial(_read, self.features.excerpt(start, stop), self.name, start)


def _read(features: FeatureParts, name: str, first: int) -> NDArray[np.float32]:
    X = features.read(0, len(features))
    refuse_non_finite(X, name, first)
    return X


def grow_on_cluster(
    client: Any, params: Mapping[str, Any], parameters: Mapping[str, Any], rows: Rows, watched: Rows | None
) -> tuple[Booster, dict[str, dict[str, list[float]]]]:
    """Run XGBoost on the workers of a cluster; return all trees, and the losses on the watched rows."""
    shared = []
    for part, name in ((rows, "X"), (watched, "X of validation_data")):
        if part is not None:
            assert isinstance(part.X, FeatureParts)
            shared.append(FeatureRows(part.X, part.codes, part.weight, name))
    check_versions(client)
    check_paths(client, [part.features.files[0] for part in shared])
    chosen = dict(params)
    if parameters["n_jobs"] is None:
        del chosen["nthread"]  # a worker knows how many it has
    booster, losses = train(
        client,
        chosen,
        shared[0],
        shared[1] if watched is not None else None,
        rounds=parameters["n_estimators"],
        patience=parameters["early_stopping_rounds"],
    )
    return booster, {"validation": {"mlogloss": losses}} if watched is not None else {}
