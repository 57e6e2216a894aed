"""A head in a graph gives what the fitted head gives, in every mode; also with other last bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnboost import BoostClassifier
from cnnboost.deploy.head_graph import add_head, add_trees, lowered, uses
from cnnboost.errors import ModelError, ParameterError
from cnnboost.hybrid.modes import FittedMode
from tests.deploy.small_graph import operations, part_graph, run_part

WIDTH = 5


def problem(k, n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, WIDTH)).astype(np.float32)
    codes = (X[:, :k] + rng.gumbel(size=(n, k))).argmax(axis=1)
    log_proba = np.log(rng.dirichlet(np.ones(k), n)).astype(np.float32)
    # Classes are rare or frequent, so that XGBoost's own starting point is far from zero.
    return X[codes < k], log_proba, codes


def fitted(mode, k=3, rounds=6, temperature=1.7, weight=0.4):
    X, log_proba, codes = problem(k)
    codes = np.where(np.arange(len(codes)) % 3 > 0, 0, codes)
    head = BoostClassifier(n_estimators=rounds, max_depth=2, classes=list(range(k)), n_jobs=1)
    margin = log_proba / np.float32(temperature) if mode == "residual" else None
    return FittedMode(
        mode, head.fit(X, codes, base_margin=margin), temperature, weight if mode == "blend" else 0.0
    )


def graph_of(head, k=3):
    def build(builder):
        names = zip(("features", "log_proba"), uses(head), strict=True)
        return add_head(builder, head, *(name if used else None for name, used in names))

    return part_graph({"features": WIDTH, "log_proba": k}, k, build)


def same(head, k=3, seed=1):
    X, log_proba, _ = problem(k, 200, seed)
    graph = graph_of(head, k)
    found = run_part(graph, features=X, log_proba=log_proba)
    np.testing.assert_allclose(found, head.predict_proba(X, log_proba), atol=2e-6)
    return graph


@pytest.mark.parametrize("mode", ["plain", "residual", "blend"])
@pytest.mark.parametrize("k", [2, 5])
def test_every_mode(mode, k):
    graph = same(fitted(mode, k), k)
    (trees,) = [node for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor"]
    assert any(part.name == "base_values" for part in trees.attribute) == (mode != "residual")


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["residual", "blend"]), st.floats(0.05, 20), st.floats(0, 1), st.integers(0, 99))
def test_every_temperature_and_weight(mode, temperature, weight, seed):
    same(fitted(mode, rounds=2, temperature=temperature, weight=weight), seed=seed)


@pytest.mark.parametrize(
    ("mode", "parameters", "used", "found"),
    [
        ("residual", {"rounds": 0}, (False, True), ["Div", "Softmax", "ArgMax"]),
        ("blend", {"weight": 1.0}, (False, True), ["Div", "Softmax", "ArgMax"]),
        ("blend", {"weight": 0.0}, (True, False), ["TreeEnsembleRegressor", "Softmax", "ArgMax"]),
    ],
)
def test_what_counts_for_nothing_is_left_out(mode, parameters, used, found):
    head = fitted(mode, **parameters)
    assert uses(head) == used
    assert operations(same(head)) == found


def test_trees_of_another_mode_are_refused():
    for trees, mode in (("plain", "residual"), ("residual", "plain"), ("residual", "blend")):
        head = FittedMode(mode, fitted(trees).boost, 1.0, 0.5)
        with pytest.raises(ParameterError, match=rf"mode='{mode}' does not go .* fit the head again"):
            graph_of(head)


def test_trees_that_onnx_cannot_express_are_refused():
    X, _, codes = problem(3)
    boost = BoostClassifier(n_estimators=2, n_jobs=1, xgb_params={"multi_strategy": "multi_output_tree"}).fit(
        X, codes
    )
    with pytest.raises(ModelError, match=r"cannot be expressed in ONNX: .* one value a leaf"):
        graph_of(FittedMode("plain", boost))


SIZES = hnp.arrays(
    np.float32, st.integers(1, 30), elements=st.floats(-100, 100, width=32, allow_subnormal=False)
)


@given(SIZES, st.integers(1, 4))
def test_thresholds_move_down_by_little_and_never_past_zero(thresholds, n_features):
    features = np.arange(len(thresholds)) % n_features
    found = lowered(thresholds, features)
    assert found.dtype == np.float32
    assert (found <= thresholds).all()
    assert (np.sign(found[thresholds != 0]) == np.sign(thresholds[thresholds != 0])).all()
    assert (thresholds - found <= 4e-6 * np.abs(thresholds).max()).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
def test_training_rows_stay_on_their_side(scale):
    rng = np.random.default_rng(0)
    X = (scale * np.maximum(rng.normal(size=(800, 6)), 0)).astype(np.float32)
    y = (X[:, 0] > X[:, 1]).astype(int) + (X[:, 2] > scale)
    boost = BoostClassifier(n_estimators=10, n_jobs=1).fit(X, y)
    noisy = X * rng.uniform(1 - 3e-7, 1 + 3e-7, X.shape).astype(np.float32)
    reference = boost.predict_proba(X)
    graph = part_graph(
        {"features": 6}, 3, lambda builder: builder.softmax(add_trees(builder, boost.booster_, "features", 6))
    )
    assert np.abs(run_part(graph, features=X) - reference).max() < 1e-6
    assert np.abs(run_part(graph, features=noisy) - reference).max() < 1e-6
    # XGBoost itself sends some of them elsewhere: that is what the lowering is for.
    assert np.abs(boost.predict_proba(noisy) - reference).max() > 1e-3
