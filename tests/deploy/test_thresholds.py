"""Rows whose features are thresholds go where XGBoost sends them, also with other last bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnboost import BoostClassifier
from cnnboost.deploy.head_graph import add_trees
from cnnboost.deploy.thresholds import lower
from tests.deploy.small_graph import part_graph, run_part

SIZES = hnp.arrays(
    np.float32, st.integers(1, 30), elements=st.floats(-100, 100, width=32, allow_subnormal=False)
)


@given(SIZES, st.integers(1, 4))
def test_thresholds_move_down_by_little_and_never_past_zero(thresholds, n_features):
    features = np.arange(len(thresholds)) % n_features
    lowered = lower(thresholds, features)
    assert lowered.dtype == np.float32
    assert (lowered <= thresholds).all()
    assert (np.sign(lowered[thresholds != 0]) == np.sign(thresholds[thresholds != 0])).all()
    assert (thresholds - lowered <= 4e-6 * np.abs(thresholds).max()).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
def test_training_rows_stay_on_their_side(scale):
    rng = np.random.default_rng(0)
    X = (scale * np.maximum(rng.normal(size=(800, 6)), 0)).astype(np.float32)
    y = (X[:, 0] > X[:, 1]).astype(int) + (X[:, 2] > scale)
    boost = BoostClassifier(n_estimators=10, n_jobs=1).fit(X, y)
    noisy = X * rng.uniform(1 - 3e-7, 1 + 3e-7, X.shape).astype(np.float32)
    reference = boost.predict_proba(X)
    graph = part_graph(
        {"features": 6}, 3, lambda draft: draft.softmax(add_trees(draft, boost.booster_, "features", 6))
    )
    assert np.abs(run_part(graph, features=X) - reference).max() < 1e-6
    assert np.abs(run_part(graph, features=noisy) - reference).max() < 1e-6
    # XGBoost itself sends some of them elsewhere: that is what the lowering is for.
    assert np.abs(boost.predict_proba(noisy) - reference).max() > 1e-3
