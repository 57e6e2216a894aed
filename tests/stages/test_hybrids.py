"""Heads in every mode: what they are fitted and chosen on, what is kept, scored, exported and timed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cnnboost import stages
from cnnboost.deploy.bundle import read_bundle
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import DataError, LayerError, ParameterError, RecipeError
from cnnboost.hybrid.calibration import fit_temperature
from cnnboost.hybrid.modes import HeadInputs
from cnnboost.stages.networks import networks_of
from cnnboost.stages.predictions import image_proba, predictions_of
from tests.command_line import invoke

TREES = {"n_estimators": 5, "max_depth": 2, "learning_rate": 0.3, "subsample": 1.0}


@pytest.fixture(scope="module")
def fitted(job_in, change, tmp_path_factory):
    """Return a job whose residual head is there; copy it, do not change it."""
    job = job_in(tmp_path_factory.mktemp("fitted"))
    job = change(job, hybrid={"mode": "residual", "views": 2, "tta": "flip", "boost": TREES})
    assert not stages.fit_hybrid(job).head.cached
    return job


@pytest.fixture
def hybrid_job(fitted, copy_of, tmp_path):
    return copy_of(fitted, tmp_path)


@pytest.fixture
def with_networks(hybrid_job, several_models):
    """Return the job with the CNNs of other hybrids, trained."""
    shutil.copytree(several_models, hybrid_job.models, dirs_exist_ok=True)
    return hybrid_job


def test_the_recipe_says_what_is_fitted(hybrid_job):
    found = stages.fit_hybrid(hybrid_job)
    train, details = hybrid_job.images.train, found.head.details
    assert (found.head.mode, found.tta, found.head.layers) == ("residual", "flip", ("fc1",))
    assert details["rows"] == 2 * len(train)
    assert (details["grown_on"], details["chosen_on"]) == ("train", "validation")
    assert found.head.path.name == "fc1-residual.ubj"
    assert found.head.boost.n_estimators_ <= TREES["n_estimators"]
    assert list(found.head.boost.classes_) == list(hybrid_job.images.classes)


def test_the_temperature_is_that_of_the_images_held_out(hybrid_job):
    found = stages.fit_hybrid(hybrid_job)
    held, cnn = hybrid_job.images.validation, found.trained.cnn
    views = [np.asarray(held.X), np.asarray(held.X)[:, :, ::-1]]
    logs = np.log(np.maximum(np.concatenate([cnn.predict_proba(view) for view in views]), 1e-30))
    wanted = fit_temperature(logs.astype(np.float32), np.tile(held.y, 2))
    assert found.head.fitted.temperature == pytest.approx(wanted, rel=1e-3)


def test_what_is_up_to_date_is_not_fitted_again(hybrid_job, change):
    first = stages.fit_hybrid(replace(hybrid_job, force=True))
    again = stages.fit_hybrid(hybrid_job)
    assert (first.head.cached, again.head.cached) == (False, True)
    X = hybrid_job.images.validation.X[:20]
    np.testing.assert_array_equal(image_proba(first, X), image_proba(again, X))
    other = stages.fit_hybrid(change(hybrid_job, hybrid={"views": 1}))
    assert not other.head.cached
    assert other.head.details["rows"] == len(hybrid_job.images.train)


def test_plain_is_what_boost_says_whatever_the_hybrid_is(hybrid_job):
    plain = stages.fit_hybrid(hybrid_job, mode="plain")
    direct = stages.fit_boost(hybrid_job, "fc1")
    assert plain.tta == "none"
    assert direct.cached
    X = hybrid_job.images.validation.X[:20]
    np.testing.assert_array_equal(
        image_proba(plain, X), image_proba(stages.fit_hybrid(hybrid_job, mode="plain"), X)
    )
    assert plain.head.boost.n_estimators_ == hybrid_job.recipe.boost.n_estimators


def test_several_layers_stand_side_by_side(hybrid_job):
    found = stages.fit_hybrid(hybrid_job, ["flatten", "fc1"], mode="blend")
    widths = [stages.fit_boost(hybrid_job, name).details["width"] for name in ("flatten", "fc1")]
    assert found.head.details["width"] == sum(widths)
    assert found.head.layer == "flatten+fc1"
    assert 0 <= found.head.fitted.weight <= 1


def test_a_layer_that_is_named_twice_is_taken_once(hybrid_job):
    assert stages.fit_hybrid(hybrid_job, ["fc1", "fc1"]).head.layer == "fc1"


def test_a_layer_that_is_asked_for_beside_folds_wants_heads_on_what_is_held_out(hybrid_job, change):
    with pytest.raises(RecipeError, match=r"folds=2 with layers fc1 .* give fit_on='held-out'"):
        stages.fit_hybrid(change(hybrid_job, hybrid={"folds": 2}), ["fc1"])


def test_the_device_that_is_asked_for_judges_too(hybrid_job, change):
    held = hybrid_job.images.validation
    elsewhere = change(hybrid_job, boost={"device": "cuda"})
    found = stages.fit_hybrid(elsewhere, device="cpu")
    said = predictions_of(elsewhere, found, held)
    assert said.cross_fitted
    assert {head.boost.device_ for _, heads in said.heads for head in heads} == {"cpu"}


def test_layers_are_those_of_the_modes_that_are_asked_for(hybrid_job):
    heads = stages.evaluate(hybrid_job, ["fc2"], modes=["residual"]).document["heads"]
    assert [(row["layer"], row["mode"]) for row in heads] == [("fc2", "plain"), ("fc2", "residual")]


def test_networks_of_a_part_leave_the_recipes_own_alone(with_networks, change):
    """A bundle holds the network that it is of; the recipe's stays what its record says it is."""
    job = change(with_networks, hybrid={"holdout": 0.3, "fit_on": "held-out"})
    own = stages.train(job)
    before = own.path.read_bytes()
    bundle = stages.export(job).bundle
    assert bundle.folder == job.bundle_dir == job.models_dir / "bundle"
    assert bundle.members["cnn.keras"].read_bytes() != before
    assert own.path.read_bytes() == before
    assert stages.train(job).cached
    assert stages.export(job).cached


def test_images_that_choose_do_not_score_themselves(hybrid_job):
    found = stages.fit_hybrid(hybrid_job)
    validation, train = hybrid_job.images.validation, hybrid_job.images.train
    crossed = predictions_of(hybrid_job, found, validation)
    assert crossed.cross_fitted
    direct = found.classifier.predict_proba(validation.X)
    assert crossed.proba.shape == direct.shape
    assert np.abs(crossed.proba - direct).max() > 1e-4  # temperatures of five parts, not of all
    rows = np.concatenate([rows for rows, _ in crossed.heads])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(validation)))
    assert not predictions_of(hybrid_job, found, train).cross_fitted


def test_a_part_of_train_is_held_out(with_networks, change):
    job = change(with_networks, hybrid={"holdout": 0.3, "fit_on": "held-out"})
    networks = networks_of(job)
    images = job.images
    assert len(networks.seen) + len(networks.unseen) == len(images.train)
    together = np.concatenate([networks.seen.X, networks.unseen.X])
    assert sorted(x.tobytes() for x in together) == sorted(x.tobytes() for x in images.train.X)
    assert set(networks.unseen.y) == set(images.train.y)
    found = stages.fit_hybrid(job)
    assert found.head.details["chosen_on"] == found.head.details["grown_on"] == "train, held out"
    assert found.head.details["rows"] == 2 * len(networks.unseen)
    # Nothing about it was chosen on the images that are scored.
    assert not predictions_of(job, found, images.validation).cross_fitted


def test_folds_ask_each_network_about_images_it_has_not_seen(with_networks, change):
    job = change(with_networks, hybrid={"folds": 2, "views": 1})
    networks = networks_of(job)
    assert len(networks.trained) == 2
    assert isinstance(networks.own, HeadInputs)
    X = np.asarray(job.images.train.X)
    said = [np.log(np.maximum(t.cnn.predict_proba(X), 1e-30)) for t in networks.trained]
    by_first = np.isclose(networks.own.log_proba, said[0], atol=1e-3).all(axis=1)
    by_second = np.isclose(networks.own.log_proba, said[1], atol=1e-3).all(axis=1)
    assert (by_first | by_second).all()
    assert 0.3 < by_first.mean() < 0.7
    found = stages.fit_hybrid(job)
    assert found.head.layer == "output"
    assert found.classifier.predict_proba(X[:5]).shape == (5, 10)


def test_an_ensemble_is_exported_whole(with_networks, change):
    job = change(with_networks, hybrid={"networks": 2, "tta": "none"})
    bundle = stages.export(job).bundle
    assert {"cnn.keras", "cnn-2.keras"} <= set(bundle.members)
    X = np.ascontiguousarray(job.images.validation.X[:30])
    expected = stages.fit_hybrid(job).classifier.predict_proba(X)
    np.testing.assert_allclose(Predictor.load(bundle).predict_proba(X), expected, atol=1e-5)
    from cnnboost.stages.benchmark import bench

    with pytest.raises(ParameterError, match="hybrid of 2 networks"):
        bench(job)


@pytest.mark.parametrize("mode", ["residual", "blend"])
def test_the_bundle_predicts_as_the_hybrid_does(hybrid_job, mode):
    exported = stages.export(hybrid_job, mode=mode)
    manifest = exported.bundle.manifest
    assert (manifest["mode"], manifest["tta"], manifest["layers"]) == (mode, "flip", ["fc1"])
    assert manifest["scores"]["cross_fitted"] is True
    assert manifest["scores"]["chosen_on"] == "validation"
    X = np.ascontiguousarray(hybrid_job.images.validation.X[:64])
    expected = stages.fit_hybrid(hybrid_job, mode=mode).classifier.predict_proba(X)
    predictor = Predictor.load(exported.bundle)
    np.testing.assert_allclose(predictor.predict_proba(X), expected, atol=1e-5)
    mirrored = np.ascontiguousarray(X[:, :, ::-1])
    np.testing.assert_allclose(predictor.predict_proba(mirrored), expected, atol=1e-5)
    assert stages.export(hybrid_job, mode=mode).cached
    assert read_bundle(exported.bundle.folder).manifest["mode"] == mode


def test_scores_of_cnn_and_hybrid_are_of_the_same_views(hybrid_job):
    metrics = stages.evaluate(hybrid_job, ["fc1"]).document
    assert metrics["tta"] == "flip"
    assert [(row["layer"], row["mode"]) for row in metrics["heads"]] == [
        ("fc1", "plain"),
        ("fc1", "residual"),
    ]
    assert metrics["heads"][1]["cross_fitted"] is True
    assert (hybrid_job.reports_dir / "figures" / "confusion-fc1-residual.png").is_file()
    held = hybrid_job.images.validation
    cnn = stages.train(hybrid_job).cnn
    both = (cnn.predict_proba(held.X) + cnn.predict_proba(np.asarray(held.X)[:, :, ::-1])) / 2
    assert metrics["cnn"]["scores"]["accuracy"]["value"] == pytest.approx(np.mean(both.argmax(1) == held.y))
    once = stages.evaluate(hybrid_job, ["fc1"], tta="none").document
    assert once["tta"] == "none"


@pytest.mark.slow
def test_every_path_of_a_residual_hybrid_says_the_same(hybrid_job):
    from cnnboost.stages.benchmark import bench

    document = bench(hybrid_job, batches=[8], repeats=1, threads=1).document
    assert (document["mode"], document["tta"]) == ("residual", "flip")
    rows = {row["path"]: row for row in document["rows"]}
    for path in ("hybrid/compiled", "hybrid/onnx", "hybrid/plain-onnx", "cnn/compiled", "cnn/onnx"):
        assert rows[path]["agreement"] == 1, path


@pytest.mark.parametrize(
    ("asked", "error", "named"),
    [
        ({"mode": "magic"}, ParameterError, "magic"),
        ({"tta": "upside-down"}, ParameterError, "upside-down"),
        ({"layers": ["fc1", "flatten"], "mode": "plain"}, RecipeError, "fc1, flatten"),
        ({"layers": ["fc9"]}, LayerError, "fc9"),
    ],
)
def test_what_cannot_be_is_refused(hybrid_job, asked, error, named):
    with pytest.raises(error, match=named):
        stages.fit_hybrid(hybrid_job, **asked)


def test_modes_want_images_that_the_cnn_has_not_seen(hybrid_job, change):
    job = change(hybrid_job, data={"validation_fraction": 0.0})
    with pytest.raises(RecipeError, match="holdout"):
        stages.fit_hybrid(job)


def test_more_folds_than_the_rarest_class_allows(hybrid_job, change):
    with pytest.raises(DataError, match="500 folds need 500"):
        stages.fit_hybrid(change(hybrid_job, hybrid={"folds": 500, "views": 1}))


def test_on_the_command_line(recipe_file, job):
    arguments = ["fit-boost", "-r", str(recipe_file), "--models", str(job.models), "--json", "--mode"]
    document = json.loads(invoke(*arguments, "residual", "--tta", "flip").stdout)
    assert (document["mode"], document["chosen_on"]) == ("residual", "validation")
    assert document["temperature"] > 0
    refused = invoke(*arguments, "magic", status=2)
    assert "valid modes: plain, residual, blend" in " ".join(refused.output.split())
