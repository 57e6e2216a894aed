"""A head as a part of a graph: the trees' margins, and what a mode makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnnboost.deploy.graph_builder import GraphBuilder
from cnnboost.deploy.network_graph import silence
from cnnboost.deploy.thresholds import lower_thresholds
from cnnboost.errors import ModelError, ParameterError

if TYPE_CHECKING:
    from xgboost import Booster

    from cnnboost.hybrid.modes import FittedMode

#: What onnxmltools can be asked for; its trees use `ai.onnx.ml` alone.
_TREES_OPSET = 15


def add_head(draft: GraphBuilder, head: FittedMode, features: str | None, log_proba: str | None) -> str:
    """Add a fitted head to a graph."""
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
        tempered = draft.add("Div", [log_proba, draft.constant(head.temperature)])
    if features is not None:
        # XGBoost forgets its base score where it is given margins.
        trees = add_trees(draft, boost.booster_, features, boost.n_features_in_, base=not residual)
    if residual:
        return draft.softmax(draft.add("Add", [trees, tempered]) if trees else tempered)
    parts = [draft.softmax(scores) for scores in (tempered, trees) if scores]
    if len(parts) == 1:
        return parts[0]
    weights = [draft.constant(weight) for weight in (head.weight, 1 - head.weight)]
    mixed = [draft.add("Mul", pair) for pair in zip(parts, weights, strict=True)]
    return draft.add("Add", mixed)


def uses(head: FittedMode) -> tuple[bool, bool]:
    """Tell whether a head looks at features, and at log-probabilities."""
    if head.mode == "residual":
        return head.boost.n_estimators_ > 0, True
    if head.mode == "blend":
        return head.weight < 1, head.weight > 0
    return True, False


def add_trees(draft: GraphBuilder, booster: Booster, features: str, width: int, *, base: bool = True) -> str:
    """Add trees to a graph, as a regressor of one margin for each class.

    ONNX Runtime takes a classifier of two classes for one with a single score and swaps them.
    """
    metadata = _tree_metadata(booster, width)
    renamed = {f"target_{name[6:]}": value for name, value in metadata.items() if name.startswith("class_")}
    kept = {
        name: value
        for name, value in metadata.items()
        if name.startswith("nodes_") or (base and name.startswith("base_"))
    }
    return draft.add(
        "TreeEnsembleRegressor",
        [features],
        domain="ai.onnx.ml",
        n_targets=len(metadata["classlabels_int64s"]),
        **renamed,
        **kept,
    )


def _tree_metadata(booster: Booster, width: int) -> Mapping[str, Any]:
    import onnxmltools
    from onnx import helper
    from onnxmltools.convert.common.data_types import FloatTensorType

    try:
        with silence():
            trees = onnxmltools.convert_xgboost(
                booster,
                initial_types=[("features", FloatTensorType([None, width]))],
                target_opset=_TREES_OPSET,
            )
    except (OSError, MemoryError):  # a full disk says nothing about the trees
        raise
    except Exception as error:
        reason = str(error).split("Stack trace")[0].strip()
        raise ModelError(
            f"the trees cannot be expressed in ONNX: {type(error).__name__}: {reason}; fit them with trees "
            "of one value a leaf"
        ) from error
    lower_thresholds(trees)
    (classifier,) = trees.graph.node
    return {fact.name: helper.get_attribute_value(fact) for fact in classifier.attribute}
