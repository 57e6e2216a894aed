"""Comparisons of many networks put together: what is counted, what is left out, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cnnboost import stages
from cnnboost.errors import StoreError
from cnnboost.files import read_json, write_json
from cnnboost.stages.gains import compare_networks, summarise_pairs
from cnnboost.stages.reporting import report_all


@pytest.fixture(scope="module")
def finished(job_in, tmp_path_factory):
    """Return a job whose scores and comparison are there; copy them, do not change them."""
    few = ["compare.seeds=3", "compare.networks=2", "compare.folds=2", "cnn.epochs=1"]
    few += ['compare.heads=["logistic_regression", "nearest_neighbors"]', "hybrid.boost={n_estimators=4}"]
    job = job_in(tmp_path_factory.mktemp("finished"), *few)
    stages.evaluate(job, ["fc1"])
    stages.compare_modes(job)
    return job


@pytest.fixture
def job(finished, tmp_path):
    shutil.copytree(finished.reports, tmp_path / "reports")
    return replace(finished, reports=tmp_path / "reports")


@pytest.fixture
def compared(job):
    return read_json(job.reports_dir / "compare.json")


def test_every_network_is_a_pair(compared, job):
    found = compare_networks(job.reports)
    document = read_json(found.path)
    assert document == json.loads(json.dumps(found.document))
    assert [path.name for path in found.figures] == ["gains.png"]
    assert [pair["network"] for pair in document["pairs"]] == compared["networks"]
    assert [pair["seeds"] for pair in document["pairs"]] == [2, 1]
    first = document["pairs"][0]
    runs = [run for run in compared["runs"] if run["network"] == 0]
    assert first["epochs"] == 1
    assert first["gap"] == pytest.approx(
        compared["train_accuracy"][0] - runs[0]["softmax"]["scores"]["accuracy"]["value"]
    )
    wanted = [run["modes"]["residual"]["against_softmax"]["difference"] for run in runs]
    assert first["heads"]["residual"]["accuracy"] == pytest.approx(np.mean(wanted))
    losses = [
        run["heads"]["logistic_regression"]["scores"]["log_loss"]["value"]
        - run["modes"]["residual"]["scores"]["log_loss"]["value"]
        for run in runs
    ]
    assert first["heads"]["residual"]["log_loss_to_linear"] == pytest.approx(np.mean(losses))
    assert first["heads"]["logistic_regression"]["accuracy_to_linear"] is None
    page = report_all(job.reports).path.read_text()
    assert "When a head pays" in page
    assert "of 2 networks" in page
    assert "data:image/png" in page


def test_comparisons_of_older_versions_and_smoke_runs_are_left_out(compared, job):
    for name, document in {"old": {**compared, "format": 1}, "toy-smoke": compared}.items():
        write_json(job.reports / name / "compare.json", document)
    found = compare_networks(job.reports).document
    assert found["left_out"] == ["old/compare.json (of another version)"]
    assert len(found["pairs"]) == 2


def test_what_cannot_be_put_together_is_named(compared, job, tmp_path):
    with pytest.raises(StoreError, match="there are no comparisons; cnnboost compare -r RECIPE makes them"):
        compare_networks(tmp_path / "empty")
    write_json(tmp_path / "older" / "old" / "compare.json", {**compared, "format": 1})
    with pytest.raises(StoreError, match=r"left out: old/compare\.json"):
        compare_networks(tmp_path / "older")
    path = job.reports_dir / "compare.json"
    write_json(path, {name: value for name, value in compared.items() if name != "train_accuracy"})
    with pytest.raises(
        StoreError, match=r"compare\.json: train_accuracy: field required; run cnnboost compare"
    ):
        compare_networks(job.reports)


@pytest.mark.parametrize("damage", [{"recipe_facts": {}}, {"networks": []}, {"runs": [{"network": 0}]}])
def test_a_damaged_comparison_is_named(compared, job, damage):
    write_json(job.reports_dir / "compare.json", {**compared, **damage})
    with pytest.raises(StoreError, match=r"toy/compare\.json: .*run cnnboost compare again"):
        compare_networks(job.reports)


def test_a_network_counts_once(compared, job):
    write_json(job.reports / "zcopy" / "compare.json", compared)
    found = compare_networks(job.reports).document
    assert len(found["pairs"]) == 2
    assert found["left_out"] == ["zcopy/compare.json (networks that are there already)"]


def test_comparisons_without_trees_are_drawn(compared, job):
    none = {**compared, "runs": [{**run, "modes": {}} for run in compared["runs"]]}
    write_json(job.reports_dir / "compare.json", none)
    found = compare_networks(job.reports)
    assert set(found.document["summary"]) == {"logistic_regression", "nearest_neighbors"}
    assert found.figures[0].is_file()


@pytest.mark.parametrize("damage", [{"pairs": None}, {"summary": {"plain": {"accuracy": {}}}}])
def test_a_damaged_document_is_named_by_the_page(compared, job, damage):
    found = compare_networks(job.reports)
    write_json(found.path, {**found.document, **damage})
    with pytest.raises(StoreError, match=r"gains\.json: .*cnnboost compare --networks again"):
        report_all(job.reports)


def pair(gap, plain, to_linear=0.0):
    gains = {"accuracy": plain, "log_loss": 0.1, "accuracy_to_linear": to_linear, "log_loss_to_linear": None}
    return {"gap": gap, "heads": {"plain": gains}}


def test_the_sign_test_and_the_correlation():
    pairs = [pair(gap / 10, (5 - gap) / 100) for gap in range(8)]
    plain = summarise_pairs(pairs)["plain"]
    assert (plain["accuracy"]["better"], plain["accuracy"]["worse"], plain["accuracy"]["pairs"]) == (5, 2, 8)
    assert plain["accuracy"]["p_value"] == pytest.approx(2 * (1 + 7 + 21) / 2**7)
    assert plain["accuracy"]["correlation"] == pytest.approx(-1)
    assert plain["accuracy_to_linear"]["p_value"] == 1  # all equal
    assert plain["log_loss"]["correlation"] is None
    assert "log_loss_to_linear" not in plain
