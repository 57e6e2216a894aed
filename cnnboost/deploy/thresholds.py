"""Thresholds of trees, moved off the training rows.

XGBoost splits at `x < t` where `t` is the feature of a training row, exactly. Another runtime computes that
feature with other last bits, and the very rows that the trees were grown on fall on either side. A threshold
that is lower by a little more than such a difference sends them where XGBoost sends them, and any other row
too, unless its feature lies within that difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

#: Times the size of the features: some fifty units in the last place of float32, the rounding of a few
#: layers.
_LOWER = 3e-6
#: Of the largest threshold of all: a feature whose own thresholds are small is a sum of large terms too.
_FLOOR = 0.1
#: Of a threshold itself: probabilities crowd near 0, where their rounding is as small as they are.
_SHARE = 1e-3


def lower_thresholds(model: onnx.ModelProto) -> None:
    """Lower the thresholds of a tree ensemble in place; one above zero stays above zero."""
    for node in model.graph.node:
        if not node.op_type.startswith("TreeEnsemble"):
            continue
        attributes = {attribute.name: attribute for attribute in node.attribute}
        values = np.array(attributes["nodes_values"].floats, np.float32)
        features = np.array(attributes["nodes_featureids"].ints)
        branches = np.array([mode == b"BRANCH_LT" for mode in attributes["nodes_modes"].strings])
        if branches.any():
            lowered = lower(values[branches], features[branches])
            values[branches] = lowered
            attributes["nodes_values"].floats[:] = values.tolist()


def lower(thresholds: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Lower thresholds by 3e-6 of the size of their feature."""
    sizes = np.zeros(features.max() + 1)
    np.maximum.at(sizes, features, np.abs(thresholds))
    by = _LOWER * np.maximum(sizes, _FLOOR * sizes.max())[features]
    by = np.where(thresholds == 0, by, np.minimum(by, _SHARE * np.abs(thresholds)))
    return (thresholds - by).astype(np.float32)
