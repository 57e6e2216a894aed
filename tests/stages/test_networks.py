"""Bagged hybrids on the line: a CNN and a head for each fold, from the recipe to the bundle."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cnnboost import stages
from cnnboost.config import load_recipe
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import RecipeError
from cnnboost.stages.hybrids import ModeHead
from cnnboost.stages.networks import networks_of
from cnnboost.stages.predictions import image_proba, predictions_of
from cnnboost.stages.training import Training
from tests.command_line import invoke

BAG = [
    "hybrid.mode=residual", "hybrid.folds=2", 'hybrid.layers=["fc1","fc2"]',
    "hybrid.fit_on=held-out", "hybrid.views=2", "hybrid.tta=flip",
    "hybrid.boost={n_estimators=4,max_depth=2,learning_rate=0.3}",
]  # fmt: skip


def job_of(recipe_file, root, *more):
    recipe = load_recipe(recipe_file, [*BAG, *more])
    return stages.Job(recipe=recipe, models=root / "models", reports=root / "reports")


@pytest.fixture(scope="module")
def made(recipe_file, several_models, tmp_path_factory):
    """Return a job whose bagged hybrid is there; copy it, do not change it."""
    job = job_of(recipe_file, tmp_path_factory.mktemp("bagged"))
    shutil.copytree(several_models / "toy" / "parts", job.models_dir / "parts")
    found = stages.fit_hybrid(job)
    assert not any(head.cached for head in found.head.all)
    return job


@pytest.fixture
def bagged(made, tmp_path):
    shutil.copytree(made.models, tmp_path / "models")
    return made.with_images(made.images, models=tmp_path / "models", reports=tmp_path / "reports")


def images_in(split):
    return {image.tobytes() for image in np.asarray(split.X)}


def test_each_head_is_fitted_on_what_its_network_has_not_seen(made):
    found = stages.fit_hybrid(made)
    first, second = found.networks.members
    train_images = images_in(made.images.train)
    assert images_in(first.held) | images_in(second.held) == train_images
    assert not images_in(first.held) & images_in(second.held)
    for member, head in zip(found.networks.members, found.head.all, strict=True):
        assert images_in(member.networks.seen) == train_images - images_in(member.held)
        assert head.details["rows"] == 2 * len(member.held)
        assert head.details["grown_on"] == head.details["chosen_on"] == "train, held out"
        assert head.path.parent.parent == member.networks.trained[0].path.parent
    assert found.head.layers == ("fc1", "fc2")
    assert found.head.rounds == sum(head.boost.n_estimators_ for head in found.head.all)
    assert not (made.models_dir / "cnn.keras").exists()  # no network of all images is needed


def test_nothing_is_made_again_and_nothing_is_cross_fitted(made):
    again = stages.fit_hybrid(made)
    assert all(head.cached for head in again.head.all)
    held = made.images.validation
    found = predictions_of(made, again, held)
    assert not found.cross_fitted
    parts = [member.predict_proba(held.X) for member in again.classifier.members_]
    np.testing.assert_allclose(found.proba, np.mean(parts, axis=0), atol=1e-6)


class Made(Exception):
    """What is made again first."""


@pytest.mark.parametrize(
    ("values", "again"),
    [
        ((), None),
        (("evaluate.seed=1", "compare.rows=[50]", 'compare.modes=["plain"]', "boost.device=cpu"), None),
        (("cnn.epochs=3",), "cnn"),
        (("cnn.seed=1",), "cnn"),
        (("data.seed=1",), "cnn"),
        (("compare.seed=1",), "cnn"),
        (("hybrid.folds=3",), "cnn"),
        (("hybrid.fit_on=both",), "head"),
        (("hybrid.views=1",), "head"),
        (("hybrid.tta=none",), "head"),
        (("hybrid.boost={max_depth=3}",), "head"),
        (("boost.min_child_weight=2",), "head"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else " ".join(value or ()),
)
def test_a_changed_value_makes_again_what_follows_from_it(made, recipe_file, monkeypatch, values, again):
    def refuse(name):
        def build(self):
            raise Made(name)

        return build

    monkeypatch.setattr(Training, "build", refuse("cnn"))
    monkeypatch.setattr(ModeHead, "build", refuse("head"))
    job = replace(job_of(recipe_file, made.models.parent, *values), models=made.models)
    try:
        stages.fit_hybrid(job)
        found = None
    except Made as first:
        found = str(first)
    assert found == again


@pytest.mark.parametrize("how", ["altered", "lost"])
@pytest.mark.parametrize("which", [0, 1])
def test_one_head_that_is_damaged_is_fitted_again_alone(bagged, which, how):
    path = (
        bagged.models_dir / f"parts/fold-{which}-of-2-0" / bagged.recipe.name / "heads/fc1+fc2-residual.ubj"
    )
    path.unlink() if how == "lost" else path.write_bytes(path.read_bytes()[:-9] + b"otherwise")
    found = stages.fit_hybrid(bagged)
    assert [head.cached for head in found.head.all] == [number != which for number in (0, 1)]


def test_force_fits_the_heads_again_and_no_network(bagged):
    found = stages.fit_hybrid(replace(bagged, force=True))
    assert not any(head.cached for head in found.head.all)
    assert all(trained.cached for trained in found.networks.trained)


def test_what_is_killed_goes_on_at_the_fold_that_was_at_work(recipe_file, tmp_path, monkeypatch, caplog):
    from cnnboost.stages import training

    fit, trained = training._fit, []

    def killed(job, callback):
        trained.append(job.models_dir.parent.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(job, callback)

    monkeypatch.setattr(training, "_fit", killed)
    job = job_of(recipe_file, tmp_path, "cnn.epochs=1")
    with caplog.at_level(logging.INFO, "cnnboost"), pytest.raises(KeyboardInterrupt):
        stages.fit_hybrid(job)
    assert "2 networks, each trained on about" in caplog.text
    assert stages.fit_hybrid(job).classifier.members_
    assert trained == ["fold-0-of-2-0", "fold-1-of-2-0", "fold-1-of-2-0"]


def test_validation_is_fitted_on_too_where_asked_and_then_cross_fitted(bagged, change):
    job = change(bagged, hybrid={"fit_on": "both"})
    found = stages.fit_hybrid(job)
    held = job.images.validation
    assert all(trained.cached for trained in found.networks.trained)
    for member, head in zip(found.networks.members, found.head.all, strict=True):
        assert head.details["rows"] == 2 * (len(member.held) + len(held))
        assert head.details["chosen_on"] == "train, held out, and validation"
    said = predictions_of(job, found, held)
    assert said.cross_fitted
    assert [len(heads) for _, heads in said.heads] == [2] * 5
    rows, heads = said.heads[0]
    part = found.with_heads(heads).predict_proba(np.asarray(held.X)[rows])
    np.testing.assert_allclose(said.proba[rows], part, atol=1e-5)
    assert not np.allclose(said.proba, found.classifier.predict_proba(held.X), atol=1e-3)


@pytest.mark.slow
def test_scores_in_8_bits_are_cross_fitted_too(bagged, change):
    exported = stages.export(change(bagged, hybrid={"fit_on": "both"}), int8=True).bundle
    assert exported.manifest["scores"]["cross_fitted"] is True
    accuracy = {name: exported.manifest["scores"][name]["accuracy"] for name in ("hybrid", "int8")}
    assert accuracy["int8"] == pytest.approx(accuracy["hybrid"], abs=0.05)


def test_the_bundle_holds_all_networks_and_heads_and_predicts_the_mean(bagged):
    exported = stages.export(bagged)
    members = exported.bundle.members
    assert {"cnn.keras", "cnn-2.keras", "head.ubj", "head-2.ubj", "head-2.json"} <= set(members)
    manifest = exported.bundle.manifest
    assert (manifest["networks"], len(manifest["heads"])) == (2, 2)
    assert manifest["rounds"] == sum(head["rounds"] for head in manifest["heads"])
    assert manifest["scores"]["cross_fitted"] is False
    X = np.ascontiguousarray(bagged.images.validation.X[:64])
    expected = stages.fit_hybrid(bagged).classifier.predict_proba(X)
    np.testing.assert_allclose(Predictor.load(exported.bundle).predict_proba(X), expected, atol=1e-5)
    assert stages.export(bagged).cached
    source = bagged.models.parent / "again.npz"
    held = bagged.images.validation
    np.savez(source, X=held.X, y=held.y, class_names=np.array(held.classes))
    scored = stages.evaluate_bundle(replace(bagged, data=source), exported.bundle.folder)
    (row,) = scored.document["heads"]
    assert row["rounds"] == manifest["rounds"]
    own = manifest["scores"]["hybrid"]["accuracy"]
    assert row["scores"]["accuracy"]["value"] == pytest.approx(own)
    second = bagged.models_dir / "parts/fold-1-of-2-0" / bagged.recipe.name / "heads/fc1+fc2-residual.ubj"
    second.unlink()
    stages.fit_hybrid(replace(bagged, force=True))
    assert stages.export(bagged).cached  # the same trees


@pytest.mark.slow
def test_every_path_of_a_bagged_hybrid_says_the_same(bagged):
    from cnnboost.stages.benchmark import bench

    document = bench(bagged, batches=[8], repeats=1, threads=1).document
    rows = {row["path"]: row for row in document["rows"]}
    for path in ("hybrid/compiled", "hybrid/onnx", "hybrid/plain-onnx"):
        assert rows[path]["agreement"] == 1, path
    hybrid, X = stages.fit_hybrid(bagged).classifier, bagged.images.validation.X
    answers = hybrid.predict_proba(X).argmax(axis=1)
    for member in hybrid.members_:
        member.tta = "none"
    alone = np.mean([member.predict_proba(X) for member in hybrid.members_], axis=0).argmax(axis=1)
    for path in ("head/dmatrix", "head/inplace"):  # of an image alone, without its mirror image
        assert rows[path]["agreement"] == pytest.approx(np.mean(alone == answers), abs=0.01)
    flop = {name: counted["mflop_per_image"] for name, counted in document["operations"].items()}
    assert flop["hybrid"] == pytest.approx(2 * flop["cnn"])


def test_it_is_scored_beside_a_network_of_all_images(bagged, several_models):
    shutil.copytree(several_models, bagged.models, dirs_exist_ok=True)
    metrics = stages.evaluate(bagged, ["fc1"]).document
    assert [(row["layer"], row["mode"]) for row in metrics["heads"]] == [
        ("fc1", "plain"),
        ("fc1+fc2", "residual"),
    ]
    row = metrics["heads"][1]
    found = stages.fit_hybrid(bagged)
    assert (row["rounds"], row["fit_seconds"]) == (found.head.rounds, found.head.fit_seconds)
    assert (row["members"], "members" in metrics["heads"][0]) == (2, False)
    held = bagged.images.validation
    accuracy = np.mean(image_proba(found, held.X).argmax(1) == held.y)
    assert row["scores"]["accuracy"]["value"] == pytest.approx(accuracy)


def test_on_the_command_line(bagged, recipe_file):
    arguments = ["fit-boost", "-r", str(recipe_file), "--models", str(bagged.models)]
    arguments += [part for value in BAG for part in ("--set", value)]
    document = json.loads(invoke(*arguments, "--json").stdout)
    assert document["cached"]
    assert [head["cached"] for head in document["heads"]] == [True, True]
    assert document["rounds"] == sum(head["rounds"] for head in document["heads"])
    shown = invoke(*arguments)
    assert "a hybrid is the mean of these 2, each with a network of its own" in shown.output


@pytest.mark.parametrize(
    ("values", "status", "named"),
    [
        (["hybrid.folds=1"], 2, "folds=1 leaves no image to train on"),
        (["hybrid.fit_on=train"], 2, "give fit_on='held-out'"),
        (["hybrid.folds=500"], 1, "and 500 folds need 500"),
        (["hybrid.folds=25"], 1, "and a head takes 5; give fewer folds"),
        (["hybrid.fit_on=both", "data.validation_fraction=0"], 2, "give data.validation_fraction"),
        (["compare.networks=2"], 2, "each say which CNNs are compared"),
        (["hybrid.fit_on=both", "hybrid.folds=0"], 2, "is for heads of folds"),
    ],
)
def test_what_cannot_be_is_refused(recipe_file, tmp_path, values, status, named):
    arguments = ["fit-boost", "-r", str(recipe_file), "--models", str(tmp_path / "models")]
    arguments += [part for value in [*BAG, *values] for part in ("--set", value)]
    assert named in " ".join(invoke(*arguments, status=status).output.split())
    assert not list(tmp_path.rglob("cnn.keras"))


def test_a_model_file_cannot_be_trained_without_a_fold(bagged, toy_file):
    with pytest.raises(RecipeError, match=r"cnn\.keras is one trained CNN, and hybrid\.folds wants others"):
        networks_of(replace(bagged, model=toy_file))
