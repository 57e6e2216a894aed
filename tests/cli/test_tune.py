"""`cnnboost tune`: the search table, single studies, all of them, and what users get wrong."""

from __future__ import annotations

import json
import re
from functools import partial

import pytest

from cnnboost.files import read_json
from tests.command_line import invoke

SEARCHES = """
[search]
sampler = "grid"
target = "fc1"
[search.space]
"boost.max_depth" = { choices = [1, 2] }

[studies.filters]
title = "Filters"
sampler = "grid"
set = { "cnn.epochs" = 1 }
[studies.filters.space]
"cnn.options.filters" = { choices = [[4], [4, 4]] }
"cnn.augment" = { choices = [false, { rotation = 5 }] }

[studies.broken]
[studies.broken.space]
"cnn.epohs" = { choices = [1] }
"""


@pytest.fixture(scope="module")
def searches(recipe_file, tmp_path_factory):
    """Return a recipe file with a search and two studies, one of them wrong."""
    path = tmp_path_factory.mktemp("searches") / "toy.toml"
    path.write_text(recipe_file.read_text() + SEARCHES)
    return path


@pytest.fixture
def tune(searches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return partial(invoke, "tune", "-r", searches)


def test_the_search_table(tune, tmp_path):
    document = json.loads(tune("--json").stdout)
    assert len(document["trials"]) == 2
    assert document["study"] is None
    assert (tmp_path / "reports" / "toy" / "search.json").is_file()
    shown = tune()
    assert "2 trials, 0 failed; fc1 scored on 10% of train" in shown.stdout
    assert "has 2 trials of 2 already" in shown.stderr


def test_studies(tune, tmp_path, monkeypatch):
    from cnnboost.search import TrialScore, study

    scores = iter((0.5, 0.6, 0.7, 0.9))
    monkeypatch.setattr(
        study, "run_trial", lambda job, metadata, values: TrialScore(next(scores), None, None)
    )
    result = tune("--study", "filters", "--study", "filters", "-q")
    assert "filters: Filters: 4 trials, 0 failed; cnn scored on 10% of train" in result.stdout
    assert "in every trial: cnn.epochs = 1" in result.stdout
    assert re.search(r"\{rotation = 5\} +\[4, 4\]", result.stdout)
    assert re.search(r"importance: cnn\.[a-z.]+ \d+%, cnn\.", result.stdout)
    assert re.search(r"figures/study-filters-points\.png", result.stdout)
    document = read_json(tmp_path / "reports" / "toy" / "study-filters.json")
    assert document["study"] == "filters"


def test_several_make_one_document(tune, monkeypatch):
    from cnnboost.search import TrialScore, study

    monkeypatch.setattr(study, "run_trial", lambda job, metadata, values: TrialScore(0.5, None, None))
    fixed = 'studies.broken.space={"cnn.epochs" = {choices = [1]}}'
    result = tune("--all", "--json", "-q", "-s", fixed, "-s", "studies.broken.sampler=grid")
    document = json.loads(result.stdout)
    assert [one["study"] for one in document["studies"]] == [None, "filters", "broken"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--study", "fliters"], "did you mean 'filters'. Its studies: broken, filters"),
        (["--study", "filters", "--study", "broken"], "did you mean 'epochs'"),
        (["--all", "--study", "filters"], "leave --study away"),
        (["--study", "filters", "-s", "studies.filters.trails=3"], "did you mean 'trials'"),
        (["-s", "search.target=fc9", "-s", "search.space={}"], "name a study"),
    ],
)
def test_mistakes_are_said_before_anything_runs(tune, tmp_path, arguments, said):
    result = tune(*arguments, status=2)
    words = " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())
    assert said in words
    assert not (tmp_path / "models").exists()


def test_the_help_text_is_whole():
    shown = " ".join(invoke("tune", "--help", columns=200).stdout.split())
    assert "as its search table or its studies say" in shown
    assert "--study" in shown
    assert "()" not in shown
