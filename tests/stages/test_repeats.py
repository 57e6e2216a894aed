import json
import shutil
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost import stages
from cnnboost.errors import ParameterError
from cnnboost.files import read_json
from cnnboost.stages.repeats import spread

STATISTICS = ["max", "min", "std", "variance", "mean"]


@pytest.fixture(scope="module")
def repeated(recipe_file, tmp_path_factory):
    """Return two runs of the toy recipe, seeds 3 and 4; do not write to their folder."""
    from cnnboost.config import load_recipe

    root = tmp_path_factory.mktemp("repeated")
    recipe = load_recipe(recipe_file, ["cnn.seed=3", "boost.seed=7", "cnn.epochs=1", "boost.subsample=0.5"])
    job = stages.Job(recipe=recipe, models=root / "models", reports=root / "reports")
    return job, stages.repeat(job, 2, ["fc1", "fc2"])


def times(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_the_document(repeated):
    job, found = repeated
    assert found.path == job.reports_dir / "repeats.json"
    summary = read_json(found.path)
    assert summary == json.loads(json.dumps(found.document))
    assert [(run["seed"], run["boost_seed"]) for run in summary["runs"]] == [(3, 7), (4, 8)]
    assert summary["recipe_facts"]["cnn"]["seed"] == 3
    assert [head["layer"] for head in summary["heads"]] == ["fc1", "fc2"]
    for row in (summary["cnn"], *summary["heads"]):
        assert list(row["accuracy"]) == STATISTICS
        assert [scores["name"] for scores in row["per_class"]] == summary["classes"]
        for scores in row["per_class"]:
            for name in ("precision", "recall", "f1"):
                assert list(scores[name]) == STATISTICS
                assert 0 <= scores[name]["min"] <= scores[name]["mean"] <= scores[name]["max"] <= 1


def test_ensembles_share_no_member(recipe_file, tmp_path):
    from cnnboost.config import load_recipe

    recipe = load_recipe(recipe_file, ["cnn.epochs=1", "hybrid.mode=residual", "hybrid.networks=2"])
    job = stages.Job(recipe=recipe, models=tmp_path / "models", reports=tmp_path / "reports")
    summary = stages.repeat(job, 2, ["fc1"]).document
    seed = recipe.cnn.seed
    assert [run["seed"] for run in summary["runs"]] == [seed, seed + 2]
    assert [row["mode"] for row in summary["runs"][0]["heads"]] == ["plain", "residual"]
    folders = {path.parent.relative_to(job.models_dir).as_posix() for path in tmp_path.rglob("cnn.keras")}
    assert len(folders) == 4


def test_the_figures_are_those_of_the_runs(repeated, tmp_path):
    job, found = repeated
    runs = []
    for number in range(2):
        recipe = job.recipe
        tables = {
            name: getattr(recipe, name).model_copy(update={"seed": getattr(recipe, name).seed + number})
            for name in ("cnn", "boost")
        }
        own = tmp_path / str(number)
        shutil.copytree(job.models_dir / "repeats" / str(tables["cnn"].seed), own / recipe.name)
        alone = replace(job, recipe=recipe.model_copy(update=tables), models=own, reports=own)
        assert stages.train(alone).cached
        runs.append(stages.evaluation.scores_of(alone, ["fc1"])[0])
    for row, of_run in (
        (found.document["cnn"], lambda m: m["cnn"]),
        (found.document["heads"][0], lambda m: m["heads"][0]),
    ):
        accuracies = [of_run(m)["scores"]["accuracy"]["value"] for m in runs]
        assert accuracies[0] != accuracies[1], "another seed is another result"
        assert row["accuracy"] == pytest.approx(
            {
                "max": max(accuracies),
                "min": min(accuracies),
                "std": np.std(accuracies, ddof=1),
                "variance": np.var(accuracies, ddof=1),
                "mean": np.mean(accuracies),
            }
        )
        for code, scores in enumerate(row["per_class"]):
            for name in ("precision", "recall", "f1"):
                values = [of_run(m)["scores"]["per_class"][code][name]["value"] for m in runs]
                assert scores[name]["mean"] == pytest.approx(np.mean(values))
                assert scores[name]["max"] == max(values)


def test_each_run_has_its_folder_and_the_recipe_keeps_its_own(repeated):
    job, _ = repeated
    assert [p.name for p in job.models_dir.iterdir()] == ["repeats"]
    assert sorted(p.name for p in (job.models_dir / "repeats").iterdir()) == ["3", "4"]
    for seed in "34":
        run = job.models_dir / "repeats" / seed
        assert read_json(run / "history.json")["seed"] == int(seed)
        assert {p.name for p in (run / "heads").glob("*.ubj")} == {"fc1-plain.ubj", "fc2-plain.ubj"}
    assert [p.name for p in job.reports_dir.iterdir()] == ["repeats.json"]


def test_a_killed_series_goes_on_and_a_longer_one_begins_with_what_is_there(repeated, tmp_path):
    job, found = repeated
    shutil.copytree(job.models, tmp_path / "models")
    job = replace(job, models=tmp_path / "models", reports=tmp_path / "reports")
    runs = job.models_dir / "repeats"
    whole, killed = times(runs / "3"), times(runs / "4")
    shutil.rmtree(runs / "4" / "heads")
    again = stages.repeat(job, 2, ["fc1", "fc2"])
    assert times(runs / "3") == whole
    assert times(runs / "4").keys() == killed.keys()
    assert {p for p, time in times(runs / "4").items() if time != killed[p]} == {
        p for p in killed if p.parent.name == "heads"
    }
    for name in ("cnn", "classes", "split"):
        assert again.document[name] == found.document[name]
    for head, before in zip(again.document["heads"], found.document["heads"], strict=True):
        assert head == before
    longer = stages.repeat(job, 3, ["fc1"])
    assert times(runs / "3") == whole
    assert [run["seed"] for run in longer.document["runs"]] == [3, 4, 5]


def test_what_cannot_be_repeated(job, toy_file):
    with pytest.raises(ParameterError, match=r"repeats=1.*at least 2"):
        stages.repeat(job, 1)
    with pytest.raises(ParameterError, match="trained already"):
        stages.repeat(replace(job, model=toy_file), 2)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_spread(values):
    found = spread(values)
    assert list(found) == STATISTICS
    assert found["max"] in values
    assert found["min"] in values
    assert found["std"] ** 2 == pytest.approx(found["variance"])
    assert found["variance"] == pytest.approx(np.var(values, ddof=1), abs=1e-12)
    assert found["mean"] == pytest.approx(statistics.mean(values))
