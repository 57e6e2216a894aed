import json
import logging

import pytest

from cnnboost import line


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
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_predictions_of_one_class_are_warned_of_and_written_down(one_sided, caplog):
    metrics = json.loads(line.evaluate(one_sided, ["fc1"]).path.read_text())
    said = warnings(caplog)
    rows = {"CNN": metrics["cnn"], "XGBoost at fc1": metrics["heads"][0]}
    assert len(said) == len(rows)
    for (title, row), text in zip(rows.items(), said, strict=True):
        predicted = [sum(column) for column in zip(*row["scores"]["confusion"], strict=True)]
        assert row["collapsed"] == {"class": "not 3", "share": predicted[0] / sum(predicted)}
        assert text.startswith(
            f"{title} calls {row['collapsed']['share']:.1%} of the images not 3, which 89.8% are"
        )
        assert "the share of the classes and no more" in text
    assert "--overfit" in said[0]


def test_of_others_nothing_is_said(job, caplog):
    metrics = line.evaluate(job, ["fc1"]).metrics
    assert metrics["cnn"]["collapsed"] is None
    assert metrics["heads"][0]["collapsed"] is None
    assert warnings(caplog) == []


def test_scores_alone_write_no_report(job):
    metrics, trained = line.evaluation.scores_of(job, ["fc1"])
    assert trained.cached
    assert metrics["heads"][0]["layer"] == "fc1"
    assert not job.reports_dir.exists()
