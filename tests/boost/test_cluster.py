"""BoostClassifier with client=: what it takes, and that its trees are as good as those of one machine."""

import numpy as np
import pytest

from cnnboost import BoostClassifier
from cnnboost.errors import DeviceError, FeatureError, ParameterError, StoreError
from cnnboost.features import FeatureParts

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return features in files of different lengths, and labels of which the last rows lack one."""
    rng = np.random.default_rng(0)
    y = np.array(["a"] * 300 + ["b"] * 700 + ["c"] * 1000)
    X = rng.normal(size=(2000, 4)).astype(np.float32)
    X[:, 1] += (y == "b") * 2 + (y == "c") * 4
    folder = tmp_path_factory.mktemp("features")
    for number, (start, stop) in enumerate([(0, 700), (700, 900), (900, 2000)]):
        np.save(folder / f"{number}.npy", X[start:stop])
    return FeatureParts.open(sorted(folder.glob("*.npy"))), X, y


def test_trees_of_a_cluster_are_as_good(client, rows):
    parts, X, y = rows
    alone = BoostClassifier(n_estimators=8, max_depth=3).fit(X, y)
    ours = BoostClassifier(n_estimators=8, max_depth=3).fit(parts, y, client=client)
    assert ours.classes_.tolist() == ["a", "b", "c"]
    assert ours.n_estimators_ == 8
    assert ours.device_ == "cpu"
    assert ours.n_features_in_ == 4
    # Bins are cut by the same rows on any number of workers; sums differ in their last bits.
    np.testing.assert_allclose(ours.predict_proba(X), alone.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


def test_early_stopping_weights_and_classes_that_are_absent(client, rows, tmp_path):
    parts, X, y = rows
    head = BoostClassifier(
        n_estimators=200, learning_rate=1.0, early_stopping_rounds=2, class_weight="balanced",
        classes=["a", "b", "c", "never"],
    )  # fmt: skip
    head.fit(parts, y, sample_weight=np.where(np.arange(2000) % 5 == 0, 0.0, 2.0), client=client)
    losses = head.evals_result_["validation"]["mlogloss"]
    assert head.n_estimators_ == int(np.argmin(losses)) + 1 == len(losses) - 2
    proba = head.predict_proba(X)
    assert proba.shape == (2000, 4)
    assert proba[:, 3].max() < 1e-6
    loaded = BoostClassifier.load(head.save(tmp_path / "head"))
    np.testing.assert_array_equal(loaded.predict_proba(X), proba)


def test_what_cannot_be_done_is_refused_before_anything_is_sent(rows):
    parts, X, y = rows
    for given, options, error in (
        ((X, y), {}, ParameterError),
        ((parts, y), {"base_margin": np.zeros((2000, 3))}, ParameterError),
        ((parts, y), {"validation_data": (X, y)}, ParameterError),
        ((parts, y[:-1]), {}, ValueError),
    ):
        with pytest.raises(error, match=r"client=|inconsistent"):
            BoostClassifier().fit(*given, client=object(), **options)
    with pytest.raises(DeviceError, match="workers grow trees on their CPUs"):
        BoostClassifier(device="cuda").fit(parts, y, client=object())


def test_workers_say_what_is_wrong_with_the_files(client, rows, tmp_path):
    _, X, y = rows
    bad = X.copy()
    bad[1234, 2] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(FeatureError, match="X is NaN at row 1234, column 2"):
        BoostClassifier(n_estimators=2).fit(FeatureParts.open(tmp_path / "bad.npy"), y, client=client)
    parts = FeatureParts.open(tmp_path / "bad.npy")
    np.save(tmp_path / "bad.npy", X[:100])
    with pytest.raises(StoreError, match="was changed while its features were in use"):
        BoostClassifier(n_estimators=2).fit(parts, y, client=client)


def test_an_excerpt_reads_what_the_whole_reads(rows):
    parts, X, _ = rows
    every_third = np.arange(0, 2000, 3)
    for whole, of in (
        (parts, X),
        (parts[every_third], X[every_third]),
        (parts.beside(parts), np.hstack([X, X])),
    ):
        for start, stop in ((0, 10), (230, 240), (100, 600), (0, len(whole))):
            excerpt = whole.excerpt(start, stop)
            assert all(path.is_absolute() for path in excerpt.files)
            np.testing.assert_array_equal(excerpt.read(0, stop - start), of[start:stop])
    assert len(parts.excerpt(710, 720).files) == 1
