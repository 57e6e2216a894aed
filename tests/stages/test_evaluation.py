import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from cnnboost import stages
from cnnboost.config.published import Published
from cnnboost.errors import RecipeError
from cnnboost.files import read_json
from cnnboost.report.published import beside_published
from cnnboost.report.score_plots import plot_class_accuracy as class_accuracy


@pytest.fixture(scope="module")
def evaluated(job_in, tmp_path_factory):
    """Return a job and all its scores; do not change them."""
    job = job_in(tmp_path_factory.mktemp("evaluated"))
    return job, stages.evaluate(job)


@pytest.fixture
def one_sided(job, change):
    """Return a job that hardly trains, on two classes of which one is rare."""
    return change(
        job,
        data={"binary": "3"},
        cnn={"optimizer": "sgd", "learning_rate": 1e-2, "epochs": 2},
        boost={"n_estimators": 1, "max_depth": 1, "learning_rate": 1e-6},
    )


def warnings(caplog):
    """Return what cnnboost warned of; TensorFlow may have something to say about its own work."""
    own = (record for record in caplog.records if record.name.startswith("cnnboost"))
    return [record.getMessage() for record in own if record.levelno == logging.WARNING]


def test_predictions_of_one_class_are_warned_of_and_written_down(one_sided, caplog):
    metrics = read_json(stages.evaluate(one_sided, ["fc1"]).path)
    said = warnings(caplog)
    rows = {"CNN": metrics["cnn"], "XGBoost at fc1": metrics["heads"][0]}
    assert len(said) == len(rows)
    for (title, row), text in zip(rows.items(), said, strict=True):
        predicted = [sum(column) for column in zip(*row["scores"]["confusion"], strict=True)]
        assert row["collapsed"] == {"class": "not 3", "share": predicted[0] / sum(predicted)}
        assert text.startswith(
            f"{title} predicts not 3 for {row['collapsed']['share']:.1%} of the images (true share 89.8%)"
        )
        assert "the share of the classes and no more" in text
    assert "--overfit" in said[0]


def test_of_others_nothing_is_said(job, caplog):
    metrics = stages.evaluate(job, ["fc1"]).document
    assert metrics["cnn"]["collapsed"] is None
    assert metrics["heads"][0]["collapsed"] is None
    assert warnings(caplog) == []


def test_scores_alone_write_no_report(job):
    metrics = stages.evaluation.scores_of(job, ["fc1"])[0]
    assert metrics["heads"][0]["layer"] == "fc1"
    assert not job.reports_dir.exists()


@pytest.fixture(scope="module")
def two_classes(job_in, change, tmp_path_factory):
    """Return a job on two classes, with scores that a study might have printed, and its scores."""
    job = job_in(tmp_path_factory.mktemp("two"))
    published = Published(
        source="A study", scores={"average_class_accuracy": 0.99, "best_f1": 0.5, "auc": 0.6}
    )
    job = change(job, data={"binary": "3"}, evaluate={"published": published}, cut={"layer": "fc2"})
    return job, stages.evaluate(job, ["fc1", "fc2"])


def figures(evaluated):
    return {path.stem for path in evaluated.figures}


def test_every_class_has_an_area_under_its_roc_curve(evaluated):
    job, metrics = evaluated[0], evaluated[1].document
    held = job.images.validation
    proba = stages.train(job).cnn.predict_proba(held.X)
    for row in (metrics["cnn"], metrics["heads"][0]):
        assert list(row["auc"]) == metrics["classes"]
        assert row["thresholds"] is None
    for i, name in enumerate(metrics["classes"]):
        found = metrics["cnn"]["auc"][name]
        assert found["value"] == pytest.approx(roc_auc_score(held.y == i, proba[:, i]))
        assert found["interval"] is None or found["interval"][0] <= found["value"] <= found["interval"][1]


def test_two_classes_are_scored_over_thresholds(two_classes):
    job, evaluated = two_classes
    metrics = read_json(evaluated.path)
    held = job.images.validation
    positive = stages.train(job).cnn.predict_proba(held.X)[:, 1]
    found = metrics["cnn"]["thresholds"]
    assert found["positive"] == "3"
    best = found["best"]
    assert f1_score(held.y, positive >= best["threshold"]) == pytest.approx(best["f1"]["value"])
    assert [row["threshold"] for row in found["sweep"]] == [t / 100 for t in range(40, 61, 2)]
    assert all(head["thresholds"]["positive"] == "3" for head in metrics["heads"])
    rows = beside_published(metrics)
    assert [(row.score_name, row.published) for row in rows[3:]] == [
        ("average class accuracy", 0.99), ("best F1 of 3 over thresholds", 0.5), ("AUC of 3", 0.6)
    ]  # fmt: skip
    assert {"roc", "class-accuracy", "precision-recall", "threshold-sweep"} < figures(evaluated)
    assert all(path.is_file() for path in evaluated.figures)


def test_the_positive_class_is_the_second_where_the_recipe_names_none(job, change):
    two = change(job, data={"drop": tuple("23456789")})
    metrics = stages.evaluation.scores_of(two, ["fc1"])[0]
    assert metrics["cnn"]["thresholds"]["positive"] == "1"


def test_figures_of_two_classes_do_not_outlive_them(two_classes, job):
    shutil.copytree(two_classes[0].reports, job.reports)
    folder = job.reports_dir / "figures"
    assert (folder / "precision-recall.png").is_file()
    ten = stages.evaluate(job, ["fc1", "fc2"])
    assert {"roc", "class-accuracy"} < figures(ten)
    assert {path.stem for path in folder.iterdir()} == figures(ten)


def test_the_hybrid_of_the_figures_is_the_one_that_the_recipe_is_about(job, change, monkeypatch):
    seen = []
    monkeypatch.setattr(
        stages.figures,
        "plot_class_accuracy",
        lambda scored, **of: (seen.extend(scored), class_accuracy(scored, **of))[1],
    )
    for layer, drawn in (("fc2", "fc2"), ("flatten", "fc1")):
        seen.clear()
        stages.evaluate(change(job, cut={"layer": layer}), ["fc1", "fc2"])
        assert seen == ["CNN softmax", f"XGBoost at {drawn}"]


def test_published_scores_of_a_positive_class_need_two_classes(job, change):
    asked = change(
        job, evaluate={"published": Published(source="A study", scores={"f1": 0.4, "macro_f1": 0.3})}
    )
    with pytest.raises(RecipeError, match=r"'toy'.*scores: f1 is of the positive one of two.*there are 10"):
        stages.evaluate(asked, ["fc1"])
    assert not job.reports_dir.exists()


def test_printed_values_of_other_classes_are_named_and_stop_nothing(job, change, caplog):
    printed = {
        "place": "Table 1",
        "title": "F1",
        "kind": "classes",
        "columns": ["f1"],
        "rows": {"cat": [0.5]},
    }
    published = Published(source="A study", printed=[printed])
    metrics = stages.evaluation.scores_of(change(job, evaluate={"published": published}), ["fc1"])[0]
    assert "Table 1 names the class 'cat', and the classes are 0, 1" in caplog.text
    assert "printed" not in metrics["published"]


def test_the_document(evaluated):
    job, found = evaluated
    metrics = read_json(found.path)
    assert metrics == json.loads(json.dumps(found.document))
    assert set(metrics) == {
        "format", "recipe", "title", "split", "images", "images_left_out", "data_digest", "classes",
        "tta", "cnn", "heads", "published", "recipe_facts", "machine", "versions",
    }  # fmt: skip
    assert metrics["split"] == "validation"
    assert [row["layer"] for row in metrics["heads"]] == ["fc1", "fc2", "output"]
    n = len(job.images.validation)
    for row in (metrics["cnn"], *metrics["heads"]):
        assert row["scores"]["n"] == n
        low, high = row["scores"]["accuracy"]["interval"]
        assert low < row["scores"]["accuracy"]["value"] < high
    assert all(0 <= row["against_cnn"]["p_value"] <= 1 for row in metrics["heads"])
    assert sorted(p.name for p in found.figures) == [
        "class-accuracy.png", "confusion-cnn.png", "confusion-fc1.png", "confusion-fc2.png",
        "confusion-output.png", "history.png", "roc.png",
    ]  # fmt: skip


def test_scores_are_those_of_the_cnn(evaluated):
    job, metrics = evaluated[0], evaluated[1].document
    cnn, held = stages.train(job).cnn, job.images.validation
    assert metrics["cnn"]["scores"]["accuracy"]["value"] == pytest.approx(
        np.mean(cnn.predict(held.X) == held.labels)
    )
    train = job.images.train
    assert metrics["cnn"]["train_accuracy"] == pytest.approx(np.mean(cnn.predict(train.X) == train.labels))


def test_a_test_split_is_scored_where_there_is_one(job, change, face_folder):
    faces = change(job, data={"source": None, "size": 48}, cut={"layers": ("fc1",)})
    metrics = stages.evaluate(replace(faces, data=face_folder)).document
    assert metrics["split"] == "test"
    assert metrics["images"] == {"train": 36, "validation": 30, "test": 18}
    assert metrics["heads"][0]["scores"]["accuracy"]["value"] > 0.5


def test_a_given_model_of_other_classes_is_scored_by_its_trees(job, toy_file, change):
    found = stages.evaluate(replace(change(job, data={"binary": "3"}), model=toy_file), ["fc1"]).document
    assert (found["cnn"], found["heads"][0]["against_cnn"]) == (None, None)
    assert "10 classes apart, 2 were named" in found["no_softmax"]
    assert stages.evaluate(replace(job, model=toy_file), ["fc1"]).document["cnn"]["fit_seconds"] is None
