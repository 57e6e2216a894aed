"""A search tries what its recipe says, goes on after a kill, and lets the scored split decide nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from functools import partial

import numpy as np
import pytest

from cnnboost.config import Search, Space
from cnnboost.errors import DataError, LayerError, RecipeError, StoreError, TrainingError
from cnnboost.files import read_json
from cnnboost.search import TrialScore, search, study

HEADS = {"boost.max_depth": Space(choices=(1, 2, 3)), "boost.n_estimators": Space(low=2, high=4, step=2)}


GRID = {"space": HEADS, "sampler": "grid", "trials": 6, "target": "fc1", "fraction": 0.3}


@pytest.fixture
def searching(job, change):
    """Return a job that searches the head at fc1 by grid."""
    return change(job, search=GRID)


@pytest.fixture
def scored_by(monkeypatch):
    """Return a function that puts a formula in the place of training."""

    def put(formula):
        monkeypatch.setattr(
            study, "run_trial", lambda job, metadata, values: TrialScore(float(formula(values)), None, None)
        )

    return put


@pytest.fixture
def with_study(job, change):
    """Return a function that gives the job with one study."""

    def make(**metadata):
        recipe = job.recipe.model_copy(update={"studies": {"one": Search(**metadata)}})
        changed = change(job)
        object.__setattr__(changed, "recipe", recipe)
        return changed

    return make


def test_a_grid_tries_every_combination_and_trains_once(searching, monkeypatch):
    trained = []
    original = study.train
    monkeypatch.setattr(study, "train", lambda job: trained.append(original(job)) or trained[-1])
    found = search(searching)
    document = found.document
    tried = {tuple(sorted(trial["values"].items())) for trial in document["trials"]}
    assert len(document["trials"]) == len(tried) == 6
    assert [t.cached for t in trained] == [False] + [True] * 5
    assert len(list((searching.models_dir / "search").glob("*/features/*/manifest.json"))) == 2
    assert document["best"]["value"] == max(trial["value"] for trial in document["trials"])
    assert document["judged_on"] == "30% of train"
    assert document["study"] is None
    assert document["title"] == "Toy"
    assert sum(document["importances"].values()) == pytest.approx(1, abs=1e-4)
    assert list(document["importances"].values()) == sorted(document["importances"].values(), reverse=True)
    for one in document["trials"]:
        low, high = one["interval"]
        assert low <= one["value"] <= high
        assert one["history"] is None  # a head has no epochs
    drawn = [path.name for path in found.figures]
    assert drawn == ["search-trials.png", "search-points.png", "search-importances.png"]
    assert [figure["file"] for figure in document["figures"]] == drawn
    assert all((searching.reports_dir / "figures" / name).is_file() for name in drawn)
    assert read_json(found.path) == document


@pytest.mark.parametrize("part", [1.0, 0.3])
def test_the_scored_split_decides_nothing_and_a_part_is_drawn_class_by_class(searching, part):
    def images(**metadata):
        metadata = Search(part=part, fraction=0.5, **metadata)
        return study.inner_job(searching, metadata, searching.recipe, searching.models_dir).images

    outer, inner = searching.images.train, images()
    assert set(inner.ids) <= set(outer.ids)
    assert np.abs(np.bincount(inner.y) / np.bincount(outer.y) - part).max() < 0.03
    assert len(inner.validation) == pytest.approx(0.5 * part * len(outer), rel=0.05)
    assert set(inner.validation.ids) != set(images(seed=1).validation.ids)


def test_a_part_that_is_too_small_is_named(searching):
    with pytest.raises(DataError, match=r"part = 0\.001 of \d+ train images.*a larger part"):
        study.inner_job(searching, Search(part=0.001), searching.recipe, searching.models_dir)


def test_a_layer_that_no_trial_has_ends_the_search(searching, change):
    with pytest.raises(LayerError, match="no layer 'fc9'"):
        search(change(searching, search={"target": "fc9"}))
    assert not (searching.reports_dir / "search.json").exists()


def test_a_study_judges_the_cnn_with_its_set_values(with_study):
    space = {"cnn.options.filters": Space(choices=([4], [4, 8]))}
    job = with_study(
        title="Filters",
        space=space,
        sampler="grid",
        part=0.5,
        set={"cnn.epochs": 3, "cnn.augment": {"rotation": 5}},
    )
    found = search(job, "one")
    document = found.document
    assert found.path == job.reports_dir / "study-one.json"
    assert (document["study"], document["title"], document["part"]) == ("one", "Filters", 0.5)
    assert document["judged_on"] == "10% of 50% of train"
    assert sum(document["images"].values()) == pytest.approx(0.5 * len(job.images.train), rel=0.02)
    assert document["set"] == {"cnn.epochs": 3, "cnn.augment": {"rotation": 5}}
    assert document["importances"] is None  # of one key
    assert sorted(one["values"]["cnn.options.filters"] for one in document["trials"]) == [[4], [4, 8]]
    for one in document["trials"]:
        assert {name: len(values) for name, values in one["history"].items()} == {
            "loss": 3,
            "accuracy": 3,
            "val_loss": 3,
            "val_accuracy": 3,
        }
        assert one["history"]["val_accuracy"][-1] == pytest.approx(one["value"], abs=1e-6)
    assert [path.name for path in found.figures] == [
        "study-one-trials.png",
        "study-one-points.png",
        "study-one-curves.png",
    ]
    # All of it, the curves too, comes out of the database when nothing is left to be tried.
    again = search(job, "one").document
    assert again["trials"] == document["trials"]


def test_equal_networks_on_other_images_do_not_displace_each_other(with_study, monkeypatch):
    trained = []
    original = study.train
    monkeypatch.setattr(study, "train", lambda job: trained.append(original(job)) or trained[-1])
    space = {"cnn.seed": Space(choices=(0,))}
    for part in (1.0, 0.5, 1.0):
        search(with_study(space=space, sampler="grid", part=part, trials=1), "one")
    assert [t.cached for t in trained] == [False, False]  # the third study was there


def test_keys_of_data_reach_the_images(with_study):
    space = {"data.size": Space(choices=(8, 6))}
    trials = search(with_study(space=space, sampler="grid"), "one").document["trials"]
    assert len({one["value"] for one in trials}) == 2 or len({str(one["history"]) for one in trials}) == 2


@pytest.mark.parametrize(("sampler", "stages"), [("random", 3), ("tpe", 1), ("grid", 1)])
def test_what_was_interrupted_ends_as_what_was_not(searching, change, sampler, stages, monkeypatch, tmp_path):
    space = {
        "boost.learning_rate": Space(low=1e-3, high=1.0, log=True),
        "boost.max_depth": Space(low=2, high=9),
        "boost.class_weight": Space(choices=("balanced", {"0": 2.0})),
    }
    if sampler == "grid":
        space = {
            "boost.learning_rate": Space(choices=(0.1, 0.2, 0.3)),
            "boost.max_depth": Space(low=2, high=4),
        }
    metadata = {"space": space, "sampler": sampler, "stages": stages, "trials": 9}
    calls = []

    def formula(job, metadata, values):
        calls.append(values)
        if len(calls) in stops:
            raise KeyboardInterrupt
        value = -((np.log10(values["boost.learning_rate"]) + 2) ** 2) - values["boost.max_depth"] / 10
        return TrialScore(float(value), None, None)

    monkeypatch.setattr(study, "run_trial", formula)
    stops = set()
    whole = search(change(searching, search=metadata)).document
    calls.clear()
    stops = {2, 7}
    job = change(searching, search=metadata)
    object.__setattr__(job, "models", tmp_path / "other")
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            search(job)
        document = read_json(job.reports_dir / "search.json")
        assert len(document["trials"]) == len(calls) - len([stop for stop in stops if stop <= len(calls)])
    pieces = search(job).document
    assert len(calls) == 11  # two of them twice
    found, wanted = ([json.dumps(one["values"]) for one in d["trials"]] for d in (pieces, whole))
    # A grid tries the same in another order.
    assert (set(found), len(found)) == (set(wanted), 9) if sampler == "grid" else found == wanted
    assert len(set(wanted)) == 9


def test_more_trials_continue_a_search(searching, change, scored_by):
    scored_by(lambda values: values["boost.gamma"])
    metadata = {"space": {"boost.gamma": Space(low=0.0, high=1.0)}, "sampler": "random", "trials": 3}
    first = search(change(searching, search=metadata)).document["trials"]
    more = search(change(searching, search={**metadata, "trials": 5, "title": "More"})).document
    assert more["trials"][:3] == first
    assert len(more["trials"]) == 5


def test_a_trial_that_fails_is_recorded_and_the_rest_goes_on(searching, change):
    space = {"cnn.options.dropout": Space(choices=(0.1, 7.0))}
    metadata = {"space": space, "sampler": "grid", "target": "cnn", "trials": 9}
    document = search(change(searching, search=metadata)).document
    by_value = {trial["values"]["cnn.options.dropout"]: trial for trial in document["trials"]}
    assert by_value[0.1]["value"] > 0.1
    assert by_value[7.0]["value"] is None
    assert by_value[7.0]["history"] is None
    assert "dropout" in by_value[7.0]["error"]


def test_a_full_disk_is_not_a_fault_of_a_trial(searching, scored_by, monkeypatch):
    def full(job, metadata, values):
        raise StoreError("disk full")

    monkeypatch.setattr(study, "run_trial", full)
    with pytest.raises(StoreError, match="disk full"):
        search(searching)
    scored_by(lambda values: 0.5)
    trials = search(searching).document["trials"]
    assert len(trials) == 6
    assert all(one["error"] is None for one in trials)


def test_a_search_whose_trials_all_fail_says_why(searching, change):
    metadata = {"space": {"cnn.options.dropout": Space(choices=(7.0, 8.0))}, "sampler": "random", "trials": 2}
    with pytest.raises(TrainingError, match=r"all 2 trials of the search failed; the last one: .*dropout"):
        search(change(searching, search={**metadata, "target": "cnn"}))
    assert read_json(searching.reports_dir / "search.json")["best"] is None


def test_the_key_that_matters_has_the_importance(searching, change, scored_by):
    scored_by(lambda values: values["boost.gamma"])
    space = {
        "boost.gamma": Space(low=0.0, high=0.5, step=0.25),
        "boost.learning_rate": Space(low=1e-3, high=1.0, log=True),
        "boost.max_depth": Space(low=2, high=9),
    }
    metadata = {"space": space, "sampler": "tpe", "trials": 20, "metric": "log_loss"}
    found = search(change(searching, search=metadata))
    for one in found.document["trials"]:
        assert one["values"]["boost.gamma"] in (0, 0.25, 0.5)
        assert 1e-3 <= one["values"]["boost.learning_rate"] <= 1
        assert one["values"]["boost.max_depth"] in range(2, 10)
    assert found.document["best"]["value"] == min(one["value"] for one in found.document["trials"])
    assert found.document["importances"]["boost.gamma"] > 0.8
    assert next(iter(found.document["importances"])) == "boost.gamma"


def test_without_optuna_the_remedy_is_named(searching, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(RecipeError, match=r"pip install 'cnnboost\[tune\]'"):
        search(searching)


DAMAGES = {
    "text": lambda path: path.write_text("not a database" * 1000),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "pages": lambda path: path.write_bytes(
        path.read_bytes()[:20_000] + bytes(4096) + path.read_bytes()[24_096:]
    ),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "state": "UPDATE trials SET state = 'DONE'",
    "direction": "UPDATE study_directions SET direction = 'UP'",
    "distribution": "UPDATE trial_params SET distribution_json = '{'",
    "kind": 'UPDATE trial_params SET distribution_json = \'{"name": "Dragon", "attributes": {}}\'',
    "choice": "UPDATE trial_params SET param_value = 99",
    "value": "UPDATE trial_values SET value_type = 'INF_POS'",
    "note": "UPDATE trial_user_attributes SET value_json = 'x'",
    "notes": "UPDATE trial_user_attributes SET value_json = '{\"a\": 1}'",
    "table": "DROP TABLE trial_values",
}


@pytest.fixture(scope="module")
def searched_models(job_in, change, tmp_path_factory):
    """Return the models of a job whose search is done; copy them, do not change them."""
    job = change(job_in(tmp_path_factory.mktemp("searched")), search=GRID)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "run_trial", lambda job, metadata, values: TrialScore(0.5, None, None))
        search(job)
    return job.models


@pytest.fixture
def database(searching, searched_models):
    """Return the file of a search that is done."""
    shutil.copytree(searched_models, searching.models, dirs_exist_ok=True)
    return searching.models_dir / "search" / "study.db"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_database_is_named_with_the_remedy(searching, database, damage):
    if callable(damage):
        damage(database)
    else:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(damage)
    with pytest.raises(StoreError, match=r"study\.db (cannot be used|is a folder).*remove it"):
        search(searching)


def test_a_locked_database_is_named(searching, database, monkeypatch):
    monkeypatch.setattr("sqlite3.dbapi2.connect", partial(sqlite3.connect, timeout=0.1))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"study\.db cannot be used: .*locked.*Another program has it"):
            search(searching)


def test_an_error_of_a_trial_is_not_blamed_on_the_database(searching, scored_by):
    scored_by(lambda values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        search(searching)
