"""Bagged hybrids: a network and a head for each fold, and the mean of them."""

from __future__ import annotations

import logging
import pickle
import re

import numpy as np
import pytest
from sklearn.base import clone

from cnnboost import BoostClassifier, CNNClassifier, HybridClassifier
from cnnboost.errors import DataError, ParameterError
from cnnboost.hybrid.bag import bag_folds


def bag(**parameters):
    cnn = CNNClassifier("digits", model_options={"filters": [8], "dense": [16]}, epochs=1, batch_size=32)
    boost = BoostClassifier(n_estimators=4, max_depth=2, n_jobs=1)
    return HybridClassifier(**{"cnn": cnn, "mode": "residual", "folds": 2, "boost": boost, **parameters})


def test_each_image_is_unseen_by_one_network_and_in_the_head_of_that_one(toy_images, monkeypatch, caplog):
    trained, grown = [], []
    train, fit = CNNClassifier.fit, HybridClassifier.fit

    def noted(self, X, y, **options):
        trained.append({image.tobytes() for image in X})
        return train(self, X, y, **options)

    def heads(self, X, y, **options):
        grown.append({image.tobytes() for image in X})
        return fit(self, X, y, **options)

    monkeypatch.setattr(CNNClassifier, "fit", noted)
    monkeypatch.setattr(HybridClassifier, "fit", heads)
    X, y = toy_images
    with caplog.at_level(logging.INFO, "cnnboost"):
        bag(mode="plain").fit(X[:500], y[:500])
    assert re.search(r"2 networks, each trained on about 2[45]\d of 500 images", caplog.text)
    assert "network 2 of 2 is ready" in caplog.text
    everything, *own = grown
    assert len(trained) == len(own) == 2
    for seen, unseen in zip(trained, own, strict=True):
        assert seen | unseen == everything
        assert not seen & unseen
    assert set.union(*own) == everything
    assert sum(map(len, own)) == len(everything)


def test_a_prediction_is_the_mean_of_the_members(toy_bag, toy_images):
    X = toy_images[0][:50]
    assert len(toy_bag.members_) == len(toy_bag.networks_) == 2
    assert toy_bag.networks_ == [member.networks_[0] for member in toy_bag.members_]
    for method in ("predict_proba", "predict_softmax"):
        parts = [getattr(member, method)(X) for member in toy_bag.members_]
        assert np.abs(parts[0] - parts[1]).max() > 0.01
        np.testing.assert_allclose(getattr(toy_bag, method)(X), np.mean(parts, axis=0), atol=1e-6)
    assert (toy_bag.predict(X) == toy_images[1][:50]).mean() > 0.7


def test_it_is_copied_put_together_again_and_fitted_otherwise(toy_bag, toy_images):
    X, y = toy_images
    expected = toy_bag.predict_proba(X[:20])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(toy_bag)).predict_proba(X[:20]), expected)
    again = HybridClassifier.from_members(toy_bag.members_)
    np.testing.assert_array_equal(again.predict_proba(X[:20]), expected)
    assert (again.folds, again.layer, again.tta) == (2, ["fc1", "fc2"], "flip")
    assert not hasattr(clone(toy_bag), "members_")
    other = pickle.loads(pickle.dumps(toy_bag)).set_params(folds=0, holdout=0.3).fit(X[:300], y[:300])
    assert other.members_ == []
    assert len(other.networks_) == 1
    assert other.predict_proba(X[:20]).shape == (20, 10)


def test_heads_are_fitted_on_further_images_too_and_networks_are_not(toy_images, monkeypatch):
    rows = {CNNClassifier: [], BoostClassifier: []}

    def noting(kind, fit):
        def noted(self, X, y, **options):
            rows[kind].append(len(X))
            return fit(self, X, y, **options)

        return noted

    for kind in rows:
        monkeypatch.setattr(kind, "fit", noting(kind, kind.fit))
    X, y = toy_images
    both = bag(mode="plain", views=2, fit_on="both")
    both.fit(X[:400], y[:400], validation_data=(X[400:500], y[400:500]))
    assert sum(rows[CNNClassifier]) == 400
    assert sum(rows[BoostClassifier]) == 2 * (400 + 2 * 100)


def test_equal_images_are_in_one_fold_and_every_class_in_each(toy_images):
    X, y = (np.tile(part, (2,) + (1,) * (part.ndim - 1)) for part in toy_images)
    parts = bag_folds(X, y, 3, 0, range(10))
    held = np.concatenate([held for _, held in parts])
    np.testing.assert_array_equal(np.sort(held), np.arange(1200))
    for rest, held in parts:
        assert not set(rest % 600) & set(held % 600)
        assert np.bincount(y[held], minlength=10).min() >= 30
    again = bag_folds(X, y, 3, 0, range(10))
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(parts, again, strict=True))
    other = bag_folds(X, y, 3, 1, range(10))
    assert not np.array_equal(parts[0][1], other[0][1])


@pytest.mark.parametrize(
    ("parameters", "error", "complaint"),
    [
        ({"folds": 1}, ParameterError, "folds=1 leaves no image to train on"),
        ({"folds": 41}, DataError, r"class \d has \d\d different images, and 41 folds need 41"),
        ({"folds": 9}, DataError, r"fold \d of 9 has 4 different images of class \d, and a head takes 5"),
        ({"fit_on": "train"}, ParameterError, "folds=2 with layers fc1 .* give fit_on='held-out'"),
        ({"fit_on": "both"}, ParameterError, "fit_on='both' .* fit was given none"),
        ({"fit_on": "both", "layer": "output"}, ParameterError, "is for heads of folds"),
        ({"fit_on": "both", "folds": 0, "holdout": 0.2}, ParameterError, "is for heads of folds"),
        ({"cnn": "file"}, ParameterError, "folds is for a CNN that is not trained yet"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    parameters, error, complaint, toy_images, toy_file, monkeypatch
):
    monkeypatch.setattr(CNNClassifier, "fit", None)
    if "cnn" in parameters:
        parameters = {"cnn": toy_file}
    X, y = (part[:400] for part in toy_images)
    with pytest.raises(error, match=complaint):
        bag(**parameters).fit(X, y)


def test_members_that_do_not_go_together_are_refused(toy_bag, toy_cnn, toy_images):
    with pytest.raises(ParameterError, match="has one member at least"):
        HybridClassifier.from_members([])
    boost = BoostClassifier(n_estimators=2, max_depth=2, n_jobs=1)
    other = HybridClassifier(toy_cnn, "fc1", boost=boost).fit(*toy_images)
    with pytest.raises(ParameterError, match="member 1 has mode='plain' and the first one mode='residual'"):
        HybridClassifier.from_members([toy_bag.members_[0], other])
