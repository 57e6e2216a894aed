import numpy as np
import pytest
from sklearn.base import clone

from cnnboost import CNNFeatures
from cnnboost.cnn import inference
from cnnboost.cnn.architectures import build
from cnnboost.features.recent import FEWEST_IMAGES, RecentFeatures, key_of


def test_what_was_not_asked_for_longest_goes_first():
    recent = RecentFeatures(400)
    for name in "abcd":
        recent.put(name, np.full(25, ord(name), np.float32))  # 100 bytes each
    assert recent.get("a")[0] == ord("a")
    recent.put("e", np.zeros(25, np.float32))
    assert recent.get("b") is None
    assert recent.get("a")[0] == ord("a")
    recent.put("large", np.zeros(26, np.float32))
    assert recent.get("large") is None


def test_what_a_caller_does_to_features_stays_with_it():
    recent, mine = RecentFeatures(1000), np.zeros(5, np.float32)
    recent.put("a", mine)
    mine += 1
    recent.get("a")[:] = 7
    np.testing.assert_array_equal(recent.get("a"), np.zeros(5))


@pytest.mark.parametrize(
    "other",
    [
        ("trunk2", "unit", np.zeros((2, 8, 8, 1), np.uint8)),
        ("trunk", "raw", np.zeros((2, 8, 8, 1), np.uint8)),
        ("trunk", "unit", np.zeros((2, 8, 8, 1), np.int8)),
        ("trunk", "unit", np.zeros((2, 16, 4, 1), np.uint8)),
        ("trunk", "unit", np.eye(16, dtype=np.uint8).reshape(2, 8, 16, 1)[:, :, ::2]),
    ],
)
def test_a_key_holds_all_that_features_follow_from(other):
    assert key_of(*other) != key_of("trunk", "unit", np.zeros((2, 8, 8, 1), np.uint8))


def test_copies_of_an_estimator_share_features_until_weights_or_images_change(monkeypatch):
    computed = []
    call = inference.Inference.__call__
    monkeypatch.setattr(
        inference.Inference, "__call__", lambda self, X: computed.append(len(X)) or call(self, X)
    )
    model = build("digits", (8, 8, 1), 10)
    X = np.random.default_rng(0).integers(0, 256, (FEWEST_IMAGES, 8, 8), np.uint8)
    features = CNNFeatures(model)
    first = features.fit_transform(X)
    np.testing.assert_array_equal(clone(features).fit_transform(X.copy()), first)
    assert computed == [FEWEST_IMAGES]
    for changed in (
        clone(features).set_params(layer="flatten"),
        clone(features).set_params(pixels="symmetric"),
    ):
        assert not np.array_equal(changed.fit_transform(X), first)
    assert not np.array_equal(clone(features).fit_transform(255 - X), first)
    model.set_weights([w * 2 for w in model.get_weights()])
    assert not np.array_equal(features.transform(X), first)
    assert computed == [FEWEST_IMAGES] * 5
