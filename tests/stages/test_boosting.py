import pytest
from sklearn.pipeline import make_pipeline

from cnnboost import BoostClassifier, CNNFeatures, stages
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
