import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.report.mistakes import most_confident_mistakes


@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_mistakes_are_wrong_and_the_surest_ones(n, k, count, seed):
    rng = np.random.default_rng(seed)
    proba, y = rng.dirichlet(np.ones(k), n), rng.integers(0, k, n)
    rows = most_confident_mistakes(proba, y, count)
    said = proba.argmax(axis=1)
    wrong = np.flatnonzero(said != y)
    assert len(rows) == min(count, len(wrong)) == len(set(rows.tolist()))
    assert (said[rows] != y[rows]).all()
    sure = proba.max(axis=1)
    assert (np.diff(sure[rows]) <= 0).all()
    assert not len(rows) or sure[rows].min() >= max(sure[np.setdiff1d(wrong, rows)], default=0)
