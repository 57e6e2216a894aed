"""The bundle of a recipe: up to date, complete, and never half there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from cnnboost import BoostClassifier, Predictor, stages
from cnnboost.cnn.model_file import read_model
from cnnboost.config import BUNDLE_TABLES
from cnnboost.deploy.bundle import read_bundle
from cnnboost.errors import ModelError, RecipeError, StoreError

MEMBERS = {"cnn.keras", "head.ubj", "head.json", "hybrid.onnx", "cnn.onnx"}


@pytest.fixture(scope="module")
def first_export(job_in, tmp_path_factory):
    """Return a job whose bundle is there; copy it, do not change it."""
    job = job_in(tmp_path_factory.mktemp("exported"))
    stages.export(job)
    return job


@pytest.fixture
def exported(first_export, copy_of, tmp_path):
    """Return a job whose bundle is up to date, and the bundle."""
    job = copy_of(first_export, tmp_path)
    return job, read_bundle(job.models_dir)


def probabilities(path, X):
    return onnxruntime.InferenceSession(path).run(["probabilities"], {"image": X})[0]


def test_a_bundle_says_what_it_is(job):
    exported = stages.export(job)
    manifest, members = exported.bundle.manifest, exported.bundle.members
    assert not exported.cached
    assert set(members) == MEMBERS
    assert manifest["recipe"] == "toy"
    assert (manifest["layer"], manifest["mode"], manifest["rounds"]) == ("fc1", "plain", 4)
    assert manifest["classes"] == [str(i) for i in range(10)]
    assert manifest["input"] == {"height": 8, "width": 8, "channels": 1}
    assert manifest["pixels"] == "raw"
    assert manifest["recipe_digest"] == job.recipe.digest(*BUNDLE_TABLES)
    assert set(manifest["versions"]) >= {"keras", "xgboost", "onnx", "onnxruntime"}
    for kind in ("cnn", "hybrid"):
        assert [found["batch"] for found in manifest["parity"][kind]] == [1, 7, 256]
        assert all(found["images"] == 1000 for found in manifest["parity"][kind])
    metrics = stages.evaluate(job, ["fc1"]).document
    assert manifest["scores"]["split"] == metrics["split"]
    for kind, found in (("cnn", metrics["cnn"]), ("hybrid", metrics["heads"][0])):
        for name, value in manifest["scores"][kind].items():
            assert value == pytest.approx(found["scores"][name]["value"])


def test_scores_on_other_images_are_of_another_bundle(exported, change):
    job, first = exported[0], exported[1].manifest["scores"]
    other = stages.export(change(job, evaluate={"split": "train"}))
    assert not other.cached
    assert (first["split"], other.bundle.manifest["scores"]["split"]) == ("validation", "train")


def test_a_bundle_says_what_it_wants(job, change):
    assert "wants" not in stages.export(job).bundle.manifest
    faces = stages.export(change(job, export={"wants": "face"}))
    assert not faces.cached
    assert faces.bundle.manifest["wants"] == "face"
    assert Predictor.load(faces.bundle).wants == "face"
    assert Predictor.load(faces.bundle.members["hybrid.onnx"]).wants == "face"


def test_a_graph_in_integers_comes_along_where_it_is_asked_for(exported, change):
    job, exact = exported
    X, y = job.images.validation.X, job.images.validation.y
    exactly = probabilities(exact.members["hybrid.onnx"], X)
    asked = stages.export(job, int8=True)
    assert not asked.cached
    manifest, members = asked.bundle.manifest, asked.bundle.members
    assert set(members) == MEMBERS | {"int8.onnx"}
    np.testing.assert_array_equal(probabilities(members["hybrid.onnx"], X), exactly)
    assert all(found["agreement"] >= 0.95 for found in manifest["parity"]["int8"])
    found = Predictor.load(asked.bundle, graph="int8").predict_proba(X)
    assert manifest["scores"]["int8"]["accuracy"] == pytest.approx((found.argmax(axis=1) == y).mean())
    assert stages.export(job, int8=True).cached
    by_recipe = change(job, export={"int8": True})
    assert "int8.onnx" in stages.export(by_recipe).bundle.members
    assert set(stages.export(by_recipe, int8=False).bundle.members) == MEMBERS
    with pytest.raises(StoreError, match=r"without int8\.onnx.*cnnboost export --int8"):
        Predictor.load(job.models_dir, graph="int8")


def test_graphs_head_and_cnn_are_one_model(exported):
    job, bundle = exported
    X = job.images.validation.X
    scored = stages.extract(job, ["fc1"], ["validation"])["validation"].stored["fc1"].X
    boost = BoostClassifier.load(bundle.members["head.ubj"])
    np.testing.assert_allclose(
        probabilities(bundle.members["hybrid.onnx"], X), boost.predict_proba(scored), atol=2e-6
    )
    read_model(bundle.members["cnn.keras"])
    metadata = json.loads(
        onnxruntime.InferenceSession(bundle.members["cnn.onnx"]).get_modelmeta().custom_metadata_map["cnnboost"]
    )  # fmt: skip
    for name, digest in metadata["native"].items():
        assert hashlib.sha256(bundle.members[name].read_bytes()).hexdigest() == digest
    assert metadata["kind"] == "cnn"
    assert metadata["classes"] == bundle.manifest["classes"]


def test_what_is_up_to_date_is_skipped_and_force_redoes_it(exported, caplog):
    job, first = exported
    before = {name: path.stat().st_mtime_ns for name, path in first.members.items()}
    with caplog.at_level(logging.INFO, "cnnboost"):
        again = stages.export(job)
    assert again.cached
    assert "manifest.json is up to date" in caplog.text
    assert {name: path.stat().st_mtime_ns for name, path in again.bundle.members.items()} == before
    forced = stages.export(replace(job, force=True))
    assert not forced.cached
    assert forced.bundle.members["cnn.keras"].stat().st_mtime_ns == before["cnn.keras"]


def test_another_layer_head_or_cnn_is_another_bundle(exported, change):
    job, _ = exported
    other = stages.export(job, "fc2")
    assert (other.cached, other.bundle.manifest["layer"]) == (False, "fc2")
    more = stages.export(change(job, boost={"n_estimators": 5}), "fc2")
    assert (more.cached, more.bundle.manifest["rounds"]) == (False, 5)
    assert not stages.export(change(job, boost={"n_estimators": 5}, cnn={"seed": 5}), "fc2").cached


def test_an_early_stopped_head(job, change):
    stops = {"n_estimators": 80, "learning_rate": 1.0, "early_stopping_rounds": 2}
    bundle = stages.export(change(job, boost=stops)).bundle
    assert bundle.manifest["rounds"] < 80


def test_a_damaged_member_is_made_again(exported, caplog):
    job, path = exported[0], exported[1].members["hybrid.onnx"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with caplog.at_level(logging.WARNING, "cnnboost"):
        assert not stages.export(job).cached
    assert "hybrid.onnx is not the file" in caplog.text
    read_bundle(job.models_dir)


def test_out_gets_the_bundle_and_nothing_else(job, tmp_path):
    out = tmp_path / "shipped"
    stages.export(job, out=out)
    assert {path.name for path in out.iterdir()} == MEMBERS | {"manifest.json"}
    assert not (job.models_dir / "manifest.json").exists()


def test_a_given_model_needs_a_folder_of_its_own(job, toy_file, tmp_path):
    given = replace(job, model=toy_file)
    with pytest.raises(RecipeError, match="say with --out"):
        stages.export(given)
    bundle = stages.export(given, out=tmp_path / "given").bundle
    assert bundle.members["cnn.keras"].read_bytes() == toy_file.read_bytes()


def test_an_old_h5_file_becomes_keras(job, toy_cnn, tmp_path):
    old = tmp_path / "old.h5"
    toy_cnn.model_.save(old)
    bundle = stages.export(replace(job, model=old), out=tmp_path / "given").bundle
    read_model(bundle.members["cnn.keras"])
    X = job.images.validation.X
    np.testing.assert_allclose(
        probabilities(bundle.members["cnn.onnx"], X), toy_cnn.predict_proba(X), atol=2e-6
    )


def test_a_network_without_classes_gets_no_graph_of_its_own(job, toy_cnn, tmp_path):
    import keras

    model = keras.Model(toy_cnn.model_.inputs, toy_cnn.model_.get_layer("fc1").output)
    model.save(tmp_path / "embedding.keras")
    given = replace(job, model=tmp_path / "embedding.keras")
    bundle = stages.export(given, "output", out=tmp_path / "given").bundle
    assert set(bundle.members) == MEMBERS - {"cnn.onnx"}


def test_a_graph_that_differs_is_refused_and_the_old_bundle_stays(exported, monkeypatch):
    job, _ = exported
    before = (job.models_dir / "manifest.json").read_bytes()
    original = BoostClassifier.predict_proba
    monkeypatch.setattr(BoostClassifier, "predict_proba", lambda self, X: np.roll(original(self, X), 1, 1))
    with pytest.raises(ModelError, match=r"hybrid\.onnx differs .* not written"):
        stages.export(replace(job, force=True))
    assert (job.models_dir / "manifest.json").read_bytes() == before
    read_bundle(job.models_dir)


def test_a_place_that_is_not_a_folder_is_named(job, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file cannot be written"):
        stages.export(job, out=tmp_path / "file")


KILLED = """
import os, signal, sys
number, arguments = int(sys.argv[1]), sys.argv[2:]
count = 0
def watch(event, args):
    global count
    if event in ("os.mkdir", "open", "os.rename") and ".export" in str(args[0]):
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
sys.argv = ["cnnboost", *arguments]
from cnnboost.cli import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize(
    ("number", "layer"),
    [
        pytest.param(4, "fc1", marks=pytest.mark.slow),
        (11, "fc1"),
        pytest.param(13, "fc2", marks=pytest.mark.slow),
    ],
)
def test_a_kill_leaves_the_old_bundle_or_the_new_one(exported, recipe_file, tmp_path, number, layer):
    """Kill before the n-th step that touches the new bundle: a member, its renaming, a move to its place."""
    job, old = exported[0], exported[1].manifest
    command = [sys.executable, "-c", KILLED, str(number), "export", "-r", str(recipe_file), "--layer", "fc2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = read_bundle(job.models_dir)
    assert found.manifest["layer"] == layer
    assert (found.manifest == old) == (layer == "fc1")
    assert list(job.models_dir.glob(".export*"))
    assert stages.export(job, "fc2").bundle.manifest["layer"] == "fc2"
    assert not list(job.models_dir.glob(".export*"))
