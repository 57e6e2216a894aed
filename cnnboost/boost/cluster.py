"""Trees that grow on the workers of a Dask cluster, from features that each of them reads by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.boost.blocks import refuse_non_finite
from cnnboost.boost.trees import Rows, Trees, matrices, prepared
from cnnboost.cluster.connection import check_paths, check_versions
from cnnboost.cluster.tasks import check_wanted
from cnnboost.cluster.training import train
from cnnboost.errors import DeviceError, ParameterError
from cnnboost.features.feature_parts import FeatureParts

if TYPE_CHECKING:
    from xgboost import DMatrix


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
    """Rows to grow on and to watch, whose features lie in files that all machines see: all, or a share.

    `first` are the numbers of the first row of both, in all that there are.
    """

    rows: Rows
    watched: Rows | None
    sample: Rows
    max_bin: int
    first: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows to grow on, and of features."""
        return self.rows.X.shape

    @property
    def most_shares(self) -> int:
        """Number of shares that all have rows."""
        return min(len(part.X) for part in (self.rows, self.watched) if part is not None)

    def share(self, number: int, count: int) -> FeatureRows:
        """Return one of `count` equal shares: what one worker reads, and makes a matrix of."""
        rows, first = _excerpt(self.rows, number, count)
        watched, first_watched = (None, 0) if self.watched is None else _excerpt(self.watched, number, count)
        return replace(self, rows=rows, watched=watched, first=(first, first_watched))

    def check(self) -> None:
        """Read everything once, and refuse what is not finite or was changed."""
        names = ("X", "X of validation_data")
        for part, name, first in zip((self.rows, self.watched), names, self.first, strict=True):
            if part is not None:
                assert isinstance(part.X, FeatureParts)
                for start, block in part.X.blocks():
                    check_wanted()
                    refuse_non_finite(block, name, first + start)

    def bins(self, n_threads: int) -> DMatrix:
        """Decide where bins are cut, as every other worker does."""
        return self.sample.bins(max_bin=self.max_bin, n_threads=n_threads)

    def matrices(self, bins: DMatrix, n_threads: int) -> tuple[DMatrix, list[tuple[DMatrix, str]]]:
        """Quantise the rows of this worker."""
        return matrices(self.rows, self.watched, bins, max_bin=self.max_bin, n_threads=n_threads)


def _excerpt(rows: Rows, number: int, count: int) -> tuple[Rows, int]:
    """Return a share of rows, small enough to be sent, and the number of its first row."""
    assert isinstance(rows.X, FeatureParts)
    start, stop = (len(rows.X) * at // count for at in (number, number + 1))
    weight = None if rows.weight is None else rows.weight[start:stop]
    return Rows(rows.X.excerpt(start, stop), rows.codes[start:stop], weight), start


def grow_on_cluster(
    client: Any,
    parameters: Mapping[str, Any],
    rows: Rows,
    watched: Rows | None,
    n_classes: int,
    seed: int,
) -> Trees:
    """Grow trees on the workers of a cluster, from files that all of them see."""
    params = prepared(parameters, rows, n_classes, seed, "cpu")
    if parameters["n_jobs"] is None:
        del params["nthread"]  # a worker knows how many it has
    check_versions(client)
    parts = [part.X for part in (rows, watched) if part is not None]
    check_paths(client, [part.files[0] for part in parts if isinstance(part, FeatureParts)])
    # All workers cut bins by the same rows, so that trees fit the bins of any number of workers.
    sample, _ = _excerpt(rows.sample(), 0, 1)
    patience = parameters["early_stopping_rounds"] if watched is not None else None
    booster, losses = train(
        client,
        params,
        FeatureRows(rows, watched, sample, parameters["max_bin"]),
        rounds=parameters["n_estimators"],
        patience=patience,
    )
    best = booster.num_boosted_rounds() - 1 if patience is None else int(np.argmin(losses))
    history = {} if watched is None else {"validation": {"mlogloss": losses}}
    return Trees(booster[: best + 1], best, history, "cpu").ready(parameters)
