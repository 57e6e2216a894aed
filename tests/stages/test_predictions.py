"""A graph in 8-bit integers is scored as the exact one is: no image decides about its own score."""

from __future__ import annotations

import numpy as np
import pytest

from cnnboost import stages
from cnnboost.deploy.int8 import IMAGES
from cnnboost.deploy.predictor import Predictor
from cnnboost.stages.export import calibration_images as measured_on
from cnnboost.stages.export import int8_proba
from cnnboost.stages.predictions import predictions_of


@pytest.fixture(scope="module")
def grown_on_validation(job_in, change, tmp_path_factory):
    """Return a job whose head was grown on the images that are scored, and its bundle."""
    boost = {"n_estimators": 15, "max_depth": 4, "min_child_weight": 1, "learning_rate": 0.3}
    job = change(
        job_in(tmp_path_factory.mktemp("grown")),
        hybrid={"mode": "residual", "fit_on": "held-out", "boost": boost},
        export={"int8": True},
    )
    return job, stages.export(job).bundle


def test_images_that_grew_the_trees_are_judged_by_others(grown_on_validation):
    job, bundle = grown_on_validation
    found, validation = stages.fit_hybrid(job), job.images.validation
    exact = predictions_of(job, found, validation)
    assert exact.cross_fitted
    content = bundle.members["int8.onnx"].read_bytes()
    crossed = int8_proba(content, found, exact, job.images.train, validation.X)
    assert (crossed.argmax(axis=1) == exact.proba.argmax(axis=1)).mean() > 0.95
    direct = Predictor(content).predict_proba(validation.X)
    assert np.abs(direct - exact.proba).mean() > 2 * np.abs(crossed - exact.proba).mean()

    def accuracy(proba):
        return (proba.argmax(axis=1) == validation.y).mean()

    # Trees know the images that they were grown on.
    assert accuracy(direct) > accuracy(crossed)
    stated = bundle.manifest["scores"]
    assert stated["cross_fitted"]
    assert stated["int8"]["accuracy"] == pytest.approx(accuracy(crossed))


def test_other_images_are_judged_by_the_graph_itself(grown_on_validation):
    job, bundle = grown_on_validation
    content = bundle.members["int8.onnx"].read_bytes()
    found, train = stages.fit_hybrid(job), job.images.train
    exact = predictions_of(job, found, train)
    assert not exact.cross_fitted
    proba = int8_proba(content, found, exact, train, train.X)
    np.testing.assert_array_equal(proba, Predictor(content).predict_proba(train.X))


def test_ranges_are_measured_on_training_images(job):
    train = job.images.train
    images = measured_on(train)
    assert len(images) == min(IMAGES, len(train))
    assert {image.tobytes() for image in images} <= {image.tobytes() for image in train.X}
