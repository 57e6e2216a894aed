import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost import stages
from cnnboost.config import Space, load_recipe
from cnnboost.errors import StoreError
from cnnboost.files import read_json, write_json
from cnnboost.stages.reporting import most_confident_mistakes, report, report_all

FACTS = Path(__file__).parents[1] / "report" / "report_facts.json"
PNG = b"\x89PNG\r\n\x1a\n"


def put_scores(folder):
    for name, metadata in json.loads(FACTS.read_text(encoding="utf-8")).items():
        write_json(folder / f"{name}.json", metadata)


@pytest.fixture
def oslo(tmp_path):
    """Return a job without images or models, whose scores are there."""
    job = stages.Job(load_recipe("oslo"), models=tmp_path / "models", reports=tmp_path / "reports")
    put_scores(job.reports_dir)
    return job


@pytest.fixture
def other(oslo):
    """Return the folder of scores on other images."""
    folder = oslo.reports_dir / "other" / "photos"
    metrics = read_json(oslo.reports_dir / "metrics.json")
    write_json(folder / "metrics.json", {**metrics, "source_name": "photos"})
    (folder / "figures").mkdir()
    for name in ("confusion-cnn.png", "contact-sheet.png"):
        (folder / "figures" / name).write_bytes(PNG)
    return folder


def test_what_tune_and_overfit_wrote_is_shown(job, change):
    """The real documents of both commands, beside scores of another recipe."""
    from cnnboost.search import search

    put_scores(job.reports_dir)
    stages.overfit(job, 12, steps=4)
    space = {"boost.max_depth": Space(choices=(1, 2))}
    search(change(job, search={"space": space, "sampler": "grid", "trials": 2, "target": "fc1"}))
    page = report(job, pictures=False).path.read_text(encoding="utf-8")
    assert 'id="overfit"' in page
    assert "12 images" in page
    assert 'id="searches"' in page
    assert '<th scope="row">boost.max_depth</th><td>1 | 2</td>' in page
    assert "2 trials, scored by accuracy of XGBoost at fc1" in page


def test_the_search_stands_before_the_studies(oslo, search_document):
    for name in ("study-b", "search", "study-a"):
        write_json(oslo.reports_dir / f"{name}.json", {**search_document, "title": f"Titled {name}"})
    page = report(oslo, pictures=False).path.read_text(encoding="utf-8")
    places = [page.index(f"Titled {name}") for name in ("search", "study-a", "study-b")]
    assert places == sorted(places)


@pytest.fixture
def search_document():
    return {
        "title": "",
        "metric": "accuracy",
        "target": "cnn",
        "sampler": "grid",
        "seed": 0,
        "judged_on": "10% of train",
        "images": {"train": 9, "validation": 1},
        "study": None,
        "stages": 1,
        "set": {},
        "space": {},
        "trials": [],
        "figures": [],
    }


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("study-dropout.json", "{", ["study-dropout.json", "damaged", "tune -r oslo --study dropout"]),
        ("search.json", "[]", ["search.json", "damaged", "cnnboost tune -r oslo again"]),
        ("overfit.json", "", ["overfit.json", "damaged", "train -r oslo --overfit N"]),
        ("study-dropout.json", "{}", ["study-dropout.json: no 'figures'", "tune"]),
        ("overfit.json", "{}", ["overfit.json: no 'learnt'", "train --overfit"]),
        ("other/photos/metrics.json", "{}", ["photos/metrics.json has format None", "-r oslo --data"]),
        ("other/photos/metrics.json", '{"format": 1}', ["other/photos/metrics.json: recipe: field required"]),
    ],
)  # fmt: skip
def test_damaged_documents_are_named_with_what_makes_them(oslo, name, content, words):
    path = oslo.reports_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    with pytest.raises(StoreError) as error:
        report(oslo, pictures=False)
    assert all(word in str(error.value) for word in words), error.value
    assert not (oslo.reports_dir / "index.html").exists()


@pytest.mark.parametrize("value", ["0.5", [0.5], {}], ids=repr)
@pytest.mark.parametrize("key", ["accuracy", "per_class"])
def test_values_of_another_kind_are_named(oslo, key, value):
    path = oslo.reports_dir / "metrics.json"
    metrics = read_json(path)
    scores = metrics["cnn"]["scores"]
    (scores["per_class"][1]["precision"] if key == "per_class" else scores["accuracy"])["value"] = value
    write_json(path, metrics)
    with pytest.raises(StoreError, match=r"not what this version writes .*cnnboost evaluate -r oslo"):
        report(oslo, pictures=False)


def test_a_source_with_a_name_that_is_not_text_is_shown(oslo):
    path = oslo.reports_dir / "audit.json"
    write_json(path, {**read_json(path), "source": "faces-\udcff"})  # as Python reads such a name from a disk
    assert b"faces-\\udcff" in report(oslo, pictures=False).path.read_bytes()


def test_scores_on_other_images_are_shown_without_pictures_of_them(oslo, other):
    page = report(oslo, pictures=False).path.read_text(encoding="utf-8")
    assert "Figures of photos" in page
    assert page.count("<img") == 1
    assert report(oslo).path.read_text(encoding="utf-8").count("<img") == 2


def test_folders_of_other_images_are_not_recipes(oslo, other):
    shutil.copytree(oslo.reports_dir, oslo.reports / "second")
    assert report_all(oslo.reports).document["recipes"] == ["oslo", "oslo"]
    assert "photos" not in (oslo.reports / "index.html").read_text(encoding="utf-8")


@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_mistakes_are_wrong_and_the_surest_ones(n, k, count, seed):
    rng = np.random.default_rng(seed)
    proba, y = rng.dirichlet(np.ones(k), n), rng.integers(0, k, n)
    rows = most_confident_mistakes(proba, y, count)
    said = proba.argmax(axis=1)
    wrong = np.flatnonzero(said != y)
    assert len(rows) == min(count, len(wrong)) == len(set(rows.tolist()))
    assert (said[rows] != y[rows]).all()
    sure = proba.max(axis=1)
    assert (np.diff(sure[rows]) <= 0).all()
    assert not len(rows) or sure[rows].min() >= max(sure[np.setdiff1d(wrong, rows)], default=0)
