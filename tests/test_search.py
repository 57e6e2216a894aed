"""A search tries what its recipe says, goes on after a kill, and lets the scored split decide nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cnnboost import search as module
from cnnboost.cli import app
from cnnboost.errors import RecipeError, TrainingError
from cnnboost.recipe import Space, load_recipe
from cnnboost.search import search

HEADS = {"boost.max_depth": Space(choices=(1, 2, 3)), "boost.n_estimators": Space(low=2, high=4, step=2)}


@pytest.fixture
def searching(job, change):
    """Return a job that searches the head at fc1 by grid."""
    facts = {"space": HEADS, "sampler": "grid", "trials": 6, "target": "fc1", "fraction": 0.3}
    return change(job, search=facts)


def test_a_grid_tries_every_combination_and_trains_once(searching, monkeypatch):
    trained = []
    original = module.train
    monkeypatch.setattr(module, "train", lambda job: trained.append(original(job)) or trained[-1])
    document = search(searching).document
    tried = {tuple(sorted(trial["values"].items())) for trial in document["trials"]}
    assert len(document["trials"]) == len(tried) == 6
    assert [t.cached for t in trained] == [False] + [True] * 5
    assert len(list((searching.models_dir / "search").glob("*/features/fc1-*.npy"))) == 2
    assert document["best"]["value"] == max(trial["value"] for trial in document["trials"])
    assert document["judged_on"] == "30% of train"


def test_the_scored_split_decides_nothing(searching):
    outer = searching.images
    inner = module._inner(searching, searching.models_dir)
    assert set(inner.images.ids) == set(outer.train.ids)
    assert not set(inner.images.ids) & set(outer.validation.ids)
    assert len(inner.images.validation) == pytest.approx(0.3 * len(outer.train), rel=0.05)


def test_it_goes_on_after_an_interruption(searching, monkeypatch):
    original = module.judge
    calls = []

    def interrupted(job, values):
        calls.append(values)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(job, values)

    monkeypatch.setattr(module, "judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(searching)
    document = search(searching).document
    assert len(document["trials"]) == 6
    assert len(calls) == 7  # the third one twice
    assert calls[2] in calls[3:]
    assert len({json.dumps(trial["values"], sort_keys=True) for trial in document["trials"]}) == 6


def test_a_trial_that_fails_is_recorded_and_the_rest_goes_on(searching, change):
    space = {"cnn.options.dropout": Space(choices=(0.1, 7.0))}
    facts = {"space": space, "sampler": "grid", "target": "cnn", "trials": 9}
    document = search(change(searching, search=facts)).document
    by_value = {trial["values"]["cnn.options.dropout"]: trial for trial in document["trials"]}
    assert by_value[0.1]["value"] > 0.1
    assert by_value[7.0]["value"] is None
    assert "dropout" in by_value[7.0]["error"]


def test_a_search_whose_trials_all_fail_says_why(searching, change):
    facts = {"space": {"cnn.options.dropout": Space(choices=(7.0, 8.0))}, "sampler": "random", "trials": 2}
    with pytest.raises(TrainingError, match=r"all 2 trials of the search failed; the last one: .*dropout"):
        search(change(searching, search={**facts, "target": "cnn"}))


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_samplers_stay_in_their_ranges(searching, change, sampler, monkeypatch):
    monkeypatch.setattr(module, "judge", lambda job, values: values["boost.learning_rate"])
    space = {
        "boost.learning_rate": Space(low=1e-3, high=1.0, log=True),
        "boost.max_depth": Space(low=2, high=9),
        "boost.gamma": Space(low=0.0, high=0.5, step=0.25),
    }
    document = search(
        change(searching, search={"space": space, "sampler": sampler, "trials": 15, "metric": "log_loss"})
    ).document
    for trial in document["trials"]:
        values = trial["values"]
        assert 1e-3 <= values["boost.learning_rate"] <= 1
        assert values["boost.max_depth"] in range(2, 10)
        assert values["boost.gamma"] in (0, 0.25, 0.5)
    assert document["best"]["value"] == min(trial["value"] for trial in document["trials"])


@given(st.integers(0, 5), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_a_grid_over_whole_numbers_has_both_ends_that_fit(low, span, step):
    values = module._values(Space(low=low, high=low + span, step=step))
    assert values == list(range(low, low + span + 1, step))


def test_mistakes(searching, change):
    with pytest.raises(RecipeError, match="searches nothing"):
        search(change(searching, search={"space": {}}))
    with pytest.raises(RecipeError, match=r"max_dpeth.*did you mean 'max_depth'"):
        search(change(searching, search={"space": {"boost.max_dpeth": Space(choices=(1,))}}))
    with pytest.raises(RecipeError, match="a grid needs choices"):
        search(change(searching, search={"space": {"boost.gamma": Space(low=0.0, high=0.5)}}))


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ('{"boost.gamma" = {low = 1, high = 0}}', "must be below"),
        ('{"boost.gamma" = {}}', "give choices"),
        ('{"boost.gamma" = {low = 0, high = 1, log = true}}', "log goes with"),
        ('{"boost.gamma" = {chioces = [1]}}', "chioces"),
    ],
)
def test_impossible_spaces_are_refused(stated, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe("digits", [f"search.space={stated}"])


def test_the_command(searching, recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = 'search.space={"boost.max_depth" = {choices = [1, 2]}}'
    command = [
        "tune",
        "-r",
        str(recipe_file),
        "-s",
        space,
        "-s",
        "search.sampler=grid",
        "-s",
        "search.target=fc1",
    ]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["trials"]) == 2
    shown = CliRunner().invoke(app, command)
    assert "2 trials, 0 failed; fc1 judged on 10% of train" in shown.stdout
    assert "continues after 2 of 20 trials" in shown.stderr
