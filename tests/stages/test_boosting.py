from dataclasses import replace

import pytest
from sklearn.pipeline import make_pipeline

from cnnboost import BoostClassifier, CNNFeatures, FeatureParts, stages
from cnnboost.boost import classifier, trees
from cnnboost.errors import DeviceError, ParameterError


def test_plain_is_the_pipeline(job):
    head = stages.fit_boost(job, "fc2")
    trained, train = stages.train(job), job.images.train
    own = make_pipeline(CNNFeatures(trained.model, "fc2"), BoostClassifier(n_estimators=4, max_depth=2))
    X = stages.extract(job, ["fc2"], ["validation"])["validation"].stored["fc2"].X
    expected = own.fit(train.X, train.labels).predict_proba(job.images.validation.X)
    agree = head.boost.predict_proba(X).argmax(axis=1) == expected.argmax(axis=1)
    assert agree.mean() > 0.99
    assert head.boost.classes_.tolist() == own.classes_.tolist()


def test_what_is_not_there(job):
    with pytest.raises(ParameterError, match=r"'stacked'.*plain"):
        stages.fit_hybrid(job, mode="stacked")
    with pytest.raises(DeviceError, match="'tpu'"):
        stages.fit_boost(job, device="tpu")


def test_features_that_are_more_than_a_block_are_read_block_by_block(job, change, monkeypatch):
    job = change(job, hybrid={"norm": True, "layers": ("fc1", "fc2")})
    array = stages.fit_boost(job, "fc1").boost
    memory = stages.fit_hybrid(job, mode="residual").head
    score = stages.evaluate(job, ["fc1"]).document["heads"][0]["scores"]["accuracy"]["value"]
    monkeypatch.setattr("cnnboost.features.feature_parts.ONE_BLOCK", 0)
    monkeypatch.setattr("cnnboost.features.feature_parts.BLOCK_BYTES", 300 * 16 * 4)
    fits = []
    grow = trees.grow_trees
    monkeypatch.setattr(
        classifier, "grow_trees", lambda *given: fits.append((given[1].X, given[5])) or grow(*given)
    )
    short = replace(job, force=True, memory="1kB")
    found = stages.fit_boost(short, "fc1").boost
    assert isinstance(fits[-1][0], FeatureParts)
    assert fits[-1][1] == "1kB"
    assert found.n_estimators_ == array.n_estimators_
    again = stages.evaluate(replace(job, memory="1kB"), ["fc1"]).document["heads"][0]["scores"]["accuracy"]
    assert again["value"] == pytest.approx(score, abs=0.03)
    head = stages.fit_hybrid(short, mode="residual").head
    assert isinstance(fits[-1][0], FeatureParts)
    assert fits[-1][0].shape[1] == head.details["width"] == memory.details["width"]
    assert head.details["temperature"] == memory.details["temperature"]
    assert not list(job.models.rglob(".boost-cache-*"))
