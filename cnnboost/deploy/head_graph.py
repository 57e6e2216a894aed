"""A head as a part of a graph: the margins of its trees, and what its mode makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.deploy.graph_builder import GraphBuilder, converting
from cnnboost.errors import ParameterError

if TYPE_CHECKING:
    from xgboost import Booster

    from cnnboost.hybrid.modes import FittedMode

#: What onnxmltools can be asked for; its trees use `ai.onnx.ml` alone.
_TREES_OPSET = 15
#: By how much thresholds are lowered, relative to the size of their feature: some fifty units in the last
#: place of float32, the rounding of a few layers.
_LOWER = 3e-6
#: Relative to the largest threshold of all: a feature whose own thresholds are small is a sum of large terms.
_FLOOR = 0.1
#: Relative to a threshold itself: probabilities crowd near 0, where their rounding is as small as they are.
_SHARE = 1e-3


def add_head(builder: GraphBuilder, head: FittedMode, features: str | None, log_proba: str | None) -> str:
    """Add a fitted head to a graph; return the name of its probabilities."""
    boost = head.boost
    residual = head.mode == "residual"
    if residual != boost.needs_margin_:
        how = "with" if boost.needs_margin_ else "without"
        raise ParameterError(
            f"mode={head.mode!r} does not go with trees that were fitted {how} base margins; fit the head "
            "again in that mode"
        )
    tempered, trees = "", ""
    if log_proba is not None:
        tempered = builder.add("Div", [log_proba, builder.constant(head.temperature)])
    if features is not None:
        # XGBoost ignores its base score where it is given margins.
        trees = add_trees(builder, boost.booster_, features, boost.n_features_in_, base=not residual)
    if residual:
        return builder.softmax(builder.add("Add", [trees, tempered]) if trees else tempered)
    parts = [builder.softmax(scores) for scores in (tempered, trees) if scores]
    if len(parts) == 1:
        return parts[0]
    weights = [builder.constant(weight) for weight in (head.weight, 1 - head.weight)]
    return builder.add("Add", [builder.add("Mul", pair) for pair in zip(parts, weights, strict=True)])


def uses(head: FittedMode) -> tuple[bool, bool]:
    """Tell whether a head uses features, and whether it uses log-probabilities."""
    if head.mode == "residual":
        return head.boost.n_estimators_ > 0, True
    if head.mode == "blend":
        return head.weight < 1, head.weight > 0
    return True, False


def add_trees(
    builder: GraphBuilder, booster: Booster, features: str, width: int, *, base: bool = True
) -> str:
    """Add trees to a graph, as a regressor of one margin for each class.

    ONNX Runtime treats a classifier of two classes as one with a single score, and swaps them.
    """
    attributes = _tree_attributes(booster, width)
    wanted = {
        f"target_{name[6:]}" if name.startswith("class_") else name: value
        for name, value in attributes.items()
        if name.startswith(("nodes_", "class_")) or (base and name.startswith("base_"))
    }
    return builder.add(
        "TreeEnsembleRegressor",
        [features],
        domain="ai.onnx.ml",
        n_targets=len(attributes["classlabels_int64s"]),
        **wanted,
    )


def lowered(thresholds: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Lower thresholds by 3e-6 of the size of their feature; one above zero stays above zero.

    XGBoost splits at `x < t`, where `t` is the feature of a training row, exactly. Another runtime computes
    that feature with other last bits, and the rows that the trees were grown on fall on either side. A
    slightly lower threshold sends them where XGBoost sends them, and other rows too unless their feature lies
    within that difference.
    """
    sizes = np.zeros(features.max() + 1)
    np.maximum.at(sizes, features, np.abs(thresholds))
    by = _LOWER * np.maximum(sizes, _FLOOR * sizes.max())[features]
    by = np.where(thresholds == 0, by, np.minimum(by, _SHARE * np.abs(thresholds)))
    return (thresholds - by).astype(np.float32)


def _tree_attributes(booster: Booster, width: int) -> dict[str, Any]:
    import onnxmltools
    from onnx import helper
    from onnxmltools.convert.common.data_types import FloatTensorType

    with converting("the trees cannot be expressed in ONNX", "fit them with trees of one value a leaf"):
        trees = onnxmltools.convert_xgboost(
            booster, initial_types=[("features", FloatTensorType([None, width]))], target_opset=_TREES_OPSET
        )
    (classifier,) = trees.graph.node
    attributes = {part.name: helper.get_attribute_value(part) for part in classifier.attribute}
    thresholds = np.array(attributes["nodes_values"], np.float32)
    splits = np.array(attributes["nodes_modes"]) == b"BRANCH_LT"
    if splits.any():
        features = np.array(attributes["nodes_featureids"])
        thresholds[splits] = lowered(thresholds[splits], features[splits])
        attributes["nodes_values"] = thresholds.tolist()
    return attributes
