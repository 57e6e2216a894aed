import numpy as np
import pytest

from cnnboost import CNNClassifier, FeatureParts
from cnnboost.cnn.architectures import build
from cnnboost.features.store import FeatureStore
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.images.views import views


@pytest.fixture
def networks(toy_cnn):
    other = build("digits", (8, 8, 1), 10, {"filters": [3], "dense": [5]})
    return [toy_cnn, CNNClassifier.from_model(other)]


def test_what_was_computed_is_found_in_the_store(networks, toy_images, tmp_path):
    X, codes = toy_images[0][:40], np.zeros(40, np.intp)
    plain = FeatureExtractor(networks, ["flatten", "fc1"], norm=True)
    computed = []
    for _ in range(2):
        stored = FeatureExtractor(networks, ["flatten", "fc1"], norm=True, store=FeatureStore(tmp_path))
        stored.runs = [lambda X, run=run: computed.append(len(X)) or run(X) for run in stored.runs]
        # Ten-crop gives pixels between two levels.
        for tta in ("flip", "ten-crop"):
            found, wanted = stored.predicted(X, codes, tta), plain.predicted(X, codes, tta)
            np.testing.assert_allclose(found.features, wanted.features, atol=1e-6)
            np.testing.assert_allclose(found.log_proba, wanted.log_proba, atol=1e-6)
    assert computed == [40] * 2 * (2 + 10)
    layer = networks[1].model_.get_layer("output")
    layer.set_weights([weights + 1 for weights in layer.get_weights()])
    stored.all(X)
    assert computed == [40] * (2 * (2 + 10) + 1)


def test_heads_are_chosen_on_every_view_at_test_time(networks, toy_images):
    X, codes = toy_images[0][:30], toy_images[1][:30]
    extractor = FeatureExtractor(networks, ["fc1"], norm=False)
    found = extractor.predicted(X, codes, "shifts")
    wanted = [extractor(view) for view in views(X, "shifts")]
    np.testing.assert_array_equal(found.features, np.concatenate([features for features, _ in wanted]))
    np.testing.assert_array_equal(found.log_proba, np.concatenate([logs for _, logs in wanted]))
    np.testing.assert_array_equal(found.codes, np.tile(codes, 10))
    np.testing.assert_array_equal(found.groups, np.tile(found.groups[:30], 10))


def test_features_that_are_more_than_a_block_stay_on_the_disk(networks, toy_images, tmp_path, monkeypatch):
    X, codes = toy_images[0][:40], np.zeros(40, np.intp)
    extractor = FeatureExtractor(networks, ["flatten", "fc1"], norm=True, store=FeatureStore(tmp_path))
    arrays = extractor.predicted(X, codes, "flip")
    monkeypatch.setattr("cnnboost.features.feature_parts.ONE_BLOCK", 0)
    monkeypatch.setattr("cnnboost.features.feature_parts.BLOCK_BYTES", 4 * 7 * arrays.features.shape[1])
    found = extractor.predicted(X, codes, "flip")
    assert isinstance(found.features, FeatureParts)
    assert found.features.n_blocks == -(-80 // 7)
    np.testing.assert_array_equal(np.asarray(found.features), arrays.features)
    np.testing.assert_array_equal(found.log_proba, arrays.log_proba)
    np.testing.assert_array_equal(
        np.asarray(found.take(np.array([1, 50])).features), arrays.features[[1, 50]]
    )
