"""Hybrids in every mode and over views give what defines them, and no more is run or loaded than it takes."""

import numpy as np
import pytest

from cnnboost.boost import BoostClassifier
from cnnboost.cnn import CNNClassifier
from cnnboost.features.cut import Cut
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.hybrid.modes import FittedMode
from cnnboost.images.views import mean_over_views
from cnnboost.timing import modes

WAYS = [True, False]


@pytest.fixture(scope="module")
def looks(source):
    return FeatureExtractor([CNNClassifier.load(source.cnn, pixels=source.pixels)], ["fc1", "fc2"], True)


@pytest.fixture(scope="module", params=["residual", "blend"])
def beside(request, source, looks, tmp_path_factory):
    """A head beside the softmax, over two views; and what defines it."""
    mode, X = request.param, np.load(source.images)
    features, log_proba = looks(X)
    margin = log_proba / np.float32(1.5) if mode == "residual" else None
    boost = BoostClassifier(n_estimators=3, n_jobs=1, classes=list(range(10)))
    boost.fit(features, log_proba.argmax(axis=1), base_margin=margin)
    path = boost.save(tmp_path_factory.mktemp("head") / "head.ubj")
    metadata = {"temperature": 1.5, "weight": 0.3 if mode == "blend" else 0.0}
    found = source._replace(
        head=str(path),
        mode=mode,
        layer="fc1+fc2",
        layers=("fc1", "fc2"),
        norm=True,
        tta="flip",
        threads=1,
        **metadata,
    )
    return found, FittedMode(mode, boost, **metadata)


@pytest.fixture
def counted(monkeypatch):
    """Count what is loaded, and note where networks are cut."""
    heads, cuts = [], []
    load, trunk = BoostClassifier.load, Cut.trunk
    monkeypatch.setattr(BoostClassifier, "load", lambda *args: heads.append(args) or load(*args))
    monkeypatch.setattr(Cut, "trunk", lambda self, layers: cuts.append(list(layers)) or trunk(self, layers))
    return heads, cuts


@pytest.mark.parametrize("compiled", WAYS)
def test_plain_trees_run_the_trunk_alone_for_each_view(source, compiled, counted):
    X = np.load(source.images)
    heads, cuts = counted
    found = modes.open_hybrid(source._replace(tta="flip"), compiled)(X)
    assert cuts == [["fc1"]]
    assert len(heads) == 1
    one_view = modes.open_hybrid(source, compiled)
    np.testing.assert_allclose(found, (one_view(X) + one_view(X[:, :, ::-1])) / 2, atol=1e-6)


@pytest.mark.parametrize("compiled", WAYS)
def test_other_modes_give_what_defines_them(beside, looks, compiled, counted):
    source, head = beside
    X = np.load(source.images)
    found = modes.open_hybrid(source, compiled)(X)
    assert len(counted[0]) == 1
    wanted = mean_over_views(lambda view: head.predict_proba(*looks(view)), X, "flip")
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("in_place", WAYS)
def test_a_head_alone_is_loaded_once(beside, looks, in_place, counted):
    source, head = beside
    features, log_proba = looks(np.load(source.images))
    found = modes.open_head(source, in_place)(np.concatenate([features, log_proba], axis=1))
    assert len(counted[0]) == 1
    np.testing.assert_allclose(found, head.predict_proba(features, log_proba), atol=1e-6)
