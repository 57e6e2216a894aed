"""CNN against hybrid in every mode and other heads: what is written, and what it says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cnnboost import stages
from cnnboost.config.outcomes import Head
from cnnboost.errors import DataError, LayerError, ParameterError
from cnnboost.files import file_digest, read_json
from cnnboost.images.views import views
from cnnboost.stages.comparison import summarise
from cnnboost.stages.networks import networks_of

HYBRID = {"tta": "flip", "views": 2, "boost": {"n_estimators": 6, "max_depth": 2, "learning_rate": 0.3}}


LINEAR = ("vector_scaling", "logistic_regression")


HEADS = (*(Head(path=name) for name in LINEAR), Head(path="sklearn.naive_bayes.GaussianNB", name="bayes"))
COMPARE = {"seeds": 2, "folds": 3, "heads": HEADS}


@pytest.fixture
def comparing(job, several_models, change):
    shutil.copytree(several_models, job.models, dirs_exist_ok=True)
    return change(job, hybrid=HYBRID, compare=COMPARE, boost={"n_estimators": 3})


@pytest.fixture(scope="module")
def compared(job_in, change, tmp_path_factory):
    """Return a job, and what was found by comparing its heads; do not change them."""
    job = job_in(tmp_path_factory.mktemp("compared"))
    job = change(job, hybrid=HYBRID, compare=COMPARE, boost={"n_estimators": 3})
    return job, stages.compare_modes(job)


def test_the_document(compared):
    comparing, found = compared
    document = read_json(found.path)
    assert document == json.loads(json.dumps(found.document))
    assert [path.name for path in found.figures] == ["compare.png"]
    assert [run["seed"] for run in document["runs"]] == [0, 1]
    assert list(document["summary"]) == ["plain", "residual", "blend", *document["runs"][0]["heads"]]
    assert list(document["runs"][0]["heads"]) == [*LINEAR, "bayes"]
    assert document["networks"] == [file_digest(comparing.models_dir / "cnn.keras")]
    assert document["n"] == len(comparing.images.validation)
    assert document["chosen_on"] == "the other 2 of 3 folds of validation"
    for run in document["runs"]:
        for row in (run["softmax"], run["calibrated"], *run["modes"].values(), *run["heads"].values()):
            assert 0 < row["scores"]["accuracy"]["value"] < 1
        # One network, one set of images: the softmax as it is knows no seed.
        assert run["softmax"] == document["runs"][0]["softmax"]
        losses = [run[key]["scores"]["log_loss"]["value"] for key in ("softmax", "calibrated")]
        assert losses[1] <= losses[0] + 0.01
        residual = run["modes"]["residual"]
        assert residual["log_loss_difference"] == pytest.approx(
            residual["scores"]["log_loss"]["value"] - losses[1]
        )
        assert residual["log_loss_difference"] < 0.01
        assert len(residual["rounds"]) == 3
    mean = np.mean([run["modes"]["residual"]["scores"]["accuracy"]["value"] for run in document["runs"]])
    assert document["summary"]["residual"]["accuracy"] == pytest.approx(mean)


def test_differences_are_to_the_linear_head_of_the_lowest_log_loss(compared):
    document = compared[1].document
    linear = document["best_linear"]
    losses = {
        name: np.mean([run["heads"][name]["scores"]["log_loss"]["value"] for run in document["runs"]])
        for name in LINEAR
    }
    assert linear == min(losses, key=losses.__getitem__)
    for run in document["runs"]:
        rows = {**run["modes"], **run["heads"]}
        accuracy = rows[linear]["scores"]["accuracy"]["value"]
        for name, row in rows.items():
            if name == linear:
                assert "against_linear" not in row
            else:
                found = row["against_linear"]["difference"]
                assert found == pytest.approx(row["scores"]["accuracy"]["value"] - accuracy)
    assert linear in document["summary"]["residual"]["against_linear"]["verdict"]


def test_a_curve_by_the_images_for_a_head(comparing, change):
    few = {"rows": (100, 60, 5000), "modes": ("residual",), "folds": 2}
    job = change(comparing, compare=few, hybrid={"fit_on": "held-out"})
    found = stages.compare_modes(job)
    document = read_json(found.path)
    assert [path.name for path in found.figures] == ["compare.png", "rows.png"]
    points = document["curve"]["points"]
    assert [point["n"] for point in points[:2]] == [60, 100]
    assert document["curve"]["left_out"] == [5000]
    assert 200 < points[-1]["n"] < len(job.images.validation)
    linear = document["best_linear"]
    for point in points:
        assert list(point["heads"]) == ["residual", *LINEAR]
        for name, row in point["heads"].items():
            assert [draw["seed"] for draw in row["draws"]] == [0, 1]
            assert ("against_linear" in row) == (name != linear)
            for draw in row["draws"]:
                low, high = draw["against_softmax"]["difference_interval"]
                assert low <= draw["against_softmax"]["difference"] <= high
    # The last point is the comparison itself.
    for name, row in points[-1]["heads"].items():
        for key in ("accuracy", "difference", "median_p_value", "log_loss"):
            assert row[key] == pytest.approx(document["summary"][name][key], abs=1e-6)
    assert points[0]["heads"]["residual"]["log_loss"] > points[-1]["heads"]["residual"]["log_loss"]


def test_too_few_images_for_a_head_are_refused_before_any_is_fitted(comparing, change, caplog):
    caplog.set_level("INFO", "cnnboost")
    job = change(comparing, compare={"rows": (9,), "modes": ("residual",)}, hybrid={"fit_on": "held-out"})
    with pytest.raises(DataError, match="among 9 images for a head"):
        stages.compare_modes(job)
    assert "seed 0" not in caplog.text


def test_a_bagged_hybrid_is_compared_with_the_means_of_the_same_networks(comparing, change):
    hybrid = {"folds": 2, "layers": ("fc1", "fc2"), "fit_on": "held-out"}
    compared = {"seeds": 1, "modes": ("residual",), "rows": (80,)}
    job = change(comparing, hybrid=hybrid, compare=compared)
    shutil.rmtree(job.models_dir / "repeats")
    document = stages.compare_modes(job).document
    networks = networks_of(job)
    held = job.images.validation
    cnns = [trained.cnn for trained in networks.trained]
    mean = np.mean([cnn.predict_proba(x) for cnn in cnns for x in views(np.asarray(held.X), "flip")], axis=0)
    run = document["runs"][0]
    accuracy = run["softmax"]["scores"]["accuracy"]["value"]
    assert accuracy == pytest.approx(np.mean(mean.argmax(1) == held.y), abs=0.003)
    assert (document["members"], len(document["networks"]), len(document["train_accuracy"])) == (2, 1, 1)
    assert document["grown_on"] == "the fold of train that its network has not seen"
    assert [len(run["modes"]["residual"][name]) for name in ("rounds", "temperatures")] == [2, 2]
    bag = stages.fit_hybrid(change(job, hybrid={"mode": "residual"}))
    direct = bag.classifier.predict_proba(held.X)
    row = run["modes"]["residual"]["scores"]["accuracy"]["value"]
    assert row == pytest.approx(np.mean(direct.argmax(1) == held.y), abs=0.02)  # seeds of trees differ
    assert document["curve"]["points"][0]["n"] == 80
    assert not (job.models_dir / "repeats").exists()


def test_validation_takes_turns_where_heads_of_a_bag_see_it(comparing, change):
    hybrid = {"folds": 2, "layers": ("fc1",), "fit_on": "both"}
    compared = {"seeds": 1, "modes": ("residual",), "heads": ()}
    job = change(comparing, hybrid=hybrid, compare=compared)
    document = stages.compare_modes(job).document
    assert document["grown_on"].endswith("and the other 2 of 3 folds of validation")
    assert len(document["runs"][0]["modes"]["residual"]["rounds"]) == 2 * 3


def test_without_linear_heads_there_are_differences_to_the_softmax_alone(comparing, change):
    job = change(comparing, compare={"heads": (), "seeds": 1, "modes": ("plain",)})
    document = stages.compare_modes(job).document
    assert document["best_linear"] is None
    assert list(document["summary"]) == ["plain"]
    assert "against_linear" not in document["summary"]["plain"]


def test_networks_take_turns(comparing, change):
    few = {"seeds": 3, "networks": 2, "folds": 2, "modes": ("plain",), "heads": ()}
    job = change(comparing, compare=few)
    document = stages.compare_modes(job).document
    runs = document["runs"]
    assert [run["network"] for run in runs] == [0, 1, 0]
    assert runs[0]["softmax"] == runs[2]["softmax"] != runs[1]["softmax"]
    paths = [job.models_dir / "cnn.keras", job.models_dir / "repeats" / "1" / "cnn.keras"]
    assert document["networks"] == [file_digest(path) for path in paths]


def test_trees_may_be_grown_on_the_other_folds(comparing, change):
    metadata = {"seeds": 1, "folds": 3, "modes": ("residual",), "heads": ()}
    held_out = change(comparing, compare=metadata, hybrid={"fit_on": "held-out"})
    document = stages.compare_modes(held_out).document
    assert document["grown_on"] == "the other folds of validation"


def test_weights_of_classes_go_by_name(comparing, change):
    few = {"seeds": 1, "folds": 2, "modes": ("plain",), "heads": ()}
    job = change(comparing, boost={"class_weight": {"3": 5.0}}, compare=few)
    plain, weighed = (
        stages.compare_modes(one).document["runs"][0]["modes"]["plain"]["scores"]["per_class"][3]["recall"]
        for one in (change(job, boost={"class_weight": None}), job)
    )
    assert weighed["value"] >= plain["value"]


def run_with(difference, p, loss=-0.01):
    return {
        "modes": {
            "residual": {
                "scores": {"accuracy": {"value": 0.5 + difference}, "log_loss": {"value": 1.0}},
                "against_softmax": {"difference": difference, "p_value": p},
                "log_loss_difference": loss,
            }
        }
    }


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([(0.01, 0.02), (0.012, 0.01), (0.008, 0.2)], "residual is better than the softmax by 1.00"),
        ([(-0.01, 0.02), (-0.012, 0.01), (-0.008, 0.03)], "residual is worse than the softmax by 1.00"),
        ([(0.01, 0.2), (0.012, 0.1), (0.008, 0.01)], "no difference: residual and the softmax are 1.00"),
        ([(0.02, 0.01), (0.02, 0.01), (-0.01, 0.04)], "no difference"),
        ([(0.0, 1.0)], "no difference"),
    ],
)
def test_a_verdict_needs_all_runs_and_more_than_chance(runs, said):
    found = summarise([run_with(*run) for run in runs], 0.95)["residual"]
    assert found["verdict"].startswith(said)
    assert found["lowest_difference"] == min(difference for difference, _ in runs)


def test_what_cannot_be_is_refused(comparing, change, toy_file):
    with pytest.raises(LayerError, match="fc9"):
        stages.compare_modes(change(comparing, hybrid={"layers": ["fc9"]}))
    with pytest.raises(ParameterError, match="is of no recipe"):
        stages.compare_modes(replace(comparing, model=toy_file))


def test_images_that_were_trained_on_or_chose_are_not_scored(comparing, change, face_folder):
    with pytest.raises(ParameterError, match="--split train: the CNN was trained on these"):
        stages.compare_modes(comparing, split="train")
    faces = change(comparing, data={"source": None, "size": 48}, cnn={"early_stopping": 1})
    with pytest.raises(ParameterError, match=r"--split validation: these images chose when.*--split test"):
        stages.compare_modes(replace(faces, data=face_folder), split="validation")


def test_heads_are_looked_up_before_anything_is_trained(comparing, change, tmp_path):
    job = replace(
        change(comparing, compare={"heads": (Head(path="sklearn.svm.Nonsense"),)}), models=tmp_path / "none"
    )
    with pytest.raises(ParameterError, match="has no class 'Nonsense'"):
        stages.compare_modes(job)
    assert not (tmp_path / "none").exists()
