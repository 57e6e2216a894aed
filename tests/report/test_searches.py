import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.report.recipe_page import Findings, report_page
from cnnboost.report.searches import SHOWN, searches_section
from tests.report.html import PNG, Page


def of(findings, documents, figures=None):
    return Findings(findings.metrics, searches=documents, figures=figures or {})


def test_the_page_says_what_was_tried_and_what_came_of_it(findings, search):
    page = Page(report_page(of(findings, {"study-trees.json": search})))
    assert "How deep the trees go" in page.text
    assert "3 trials, scored by accuracy of XGBoost at fc1 on 574 images of train" in page.text
    assert "The best reached 55.0%." in page.text
    assert page.row("boost.learning_rate", "0.05 to 0.3, even in the logarithm")
    assert page.row("boost.max_depth", "4 | 6 | 99")
    assert page.row("Fixed in every trial", "boost.n_estimators = 10")
    assert page.row("Images", "fitted on 5,168, scored on 574 (10% of a part of train (20%))")
    assert page.row("Sampler", "tree-structured Parzen estimators (TPE), seed 7")
    assert page.row("Best", "boost.learning_rate = 0.2, boost.max_depth = 6")
    boost = findings.metrics["recipe_facts"]["boost"]
    stated = f"boost.learning_rate = {boost['learning_rate']}, boost.max_depth = {boost['max_depth']}"
    assert page.row("Scored recipe", stated)
    assert page.row("trial", "accuracy", "learning_rate", "max_depth", "s")
    (best,) = page.row("1", "55.0% 50.0% to 60.0%")
    assert best[2:] == ["0.2", "6", "2.5"]
    assert page.text.index("50.0% to 60.0%") < page.text.index("46.0% to 56.0%")
    assert page.row("2", "learning_rate = 0.3, max_depth = 99", "too deep")
    assert "1 failed trial" in page.text
    assert page.row("boost.learning_rate", "75.0%")


def test_figures_of_a_search_stand_with_it_and_nowhere_else(findings, search):
    search["figures"].append({"file": "study-trees-importances.png", "title": "Importances"})
    search["figures"].append({"file": "gone.png", "title": "Gone"})
    figures = {
        "study-trees-trials.png": PNG,
        "study-trees-importances.png": PNG,
        "study-other-trials.png": PNG,
        "history.png": PNG,
    }
    text = report_page(of(findings, {"study-trees.json": search}, figures))
    page = Page(text)
    assert page.tags.count("img") == 4
    general, _, own = text.partition('id="searches"')
    assert "Each trial" in own
    assert "Each trial" not in general
    assert "Study other trials" in general
    assert "Gone" not in text
    # What a figure shows is not said again in a table.
    assert not page.row("boost.learning_rate", "75.0%")


def test_documents_of_old_are_shown_too(findings, search):
    spaces = search["space"]
    for key in ("study", "stages", "set", "space", "part", "importances", "figures"):
        del search[key]
    for trial in search["trials"]:
        del trial["interval"], trial["history"]
    search["title"] = findings.metrics["title"]
    search["recipe_facts"] = {"search": {"space": spaces}}
    page = Page(report_page(of(findings, {"search.json": search})))
    assert page.row("boost.max_depth", "4 | 6 | 99")
    assert page.row("Fixed in every trial", "nothing beside the recipe")
    assert page.row("1", "55.0%")
    assert "Searches Search 3 trials" in page.text


def test_a_study_without_a_title_is_called_by_its_name(findings, search):
    search["title"] = findings.metrics["title"]
    page = Page(report_page(of(findings, {"study-trees.json": search})))
    assert "Searches Study trees 3 trials" in page.text


def test_where_every_trial_failed_their_messages_are_shown(findings, search):
    search["trials"] = search["trials"][2:]
    search["best"], search["importances"] = None, None
    page = Page(report_page(of(findings, {"study-trees.json": search})))
    assert "No trial finished with a value." in page.text
    assert page.row("2", "learning_rate = 0.3, max_depth = 99", "too deep")


def test_the_smallest_log_loss_is_the_best(findings, search):
    search["metric"] = "log_loss"
    page = Page(report_page(of(findings, {"study-trees.json": search})))
    assert "scored by log-loss" in page.text
    assert "The best reached 0.510." in page.text
    assert page.rows.index(page.row("0", "0.510 0.460 to 0.560")[0]) < page.rows.index(
        page.row("1", "0.550 0.500 to 0.600")[0]
    )


def test_values_are_written_as_a_recipe_would(findings, search):
    search["trials"][0]["values"] = {"cnn.augment": {"flip": 0.5}, "cnn.options.filters": [8, 16]}
    search["trials"][1]["values"] = {"cnn.augment": False, "cnn.options.filters": [8]}
    search["trials"].pop()
    page = Page(report_page(of(findings, {"study-trees.json": search})))
    assert page.row("trial", "accuracy", "augment", "filters", "s")
    assert page.row("1", "55.0% 50.0% to 60.0%", "false", "[8]")
    assert page.row("0", "51.0% 46.0% to 56.0%", "{flip = 0.5}", "[8, 16]")
    assert page.row("Scored recipe", "cnn.augment not stated, cnn.options.filters = [32, 64, 64]")


def test_keys_with_one_last_part_keep_their_whole_names(findings, search):
    for trial in search["trials"]:
        trial["values"] = {"cnn.learning_rate": 0.1, "boost.learning_rate": 0.2}
    page = Page(report_page(of(findings, {"study-trees.json": search})))
    assert page.row("trial", "accuracy", "cnn.learning_rate", "boost.learning_rate", "s")


@given(values=st.lists(st.none() | st.floats(0, 1), max_size=40))
def test_every_trial_is_shown_once_and_the_best_first(values):
    trials = [
        {"number": i, "value": value, "values": {"boost.max_depth": i}, "seconds": 1.0, "error": "no"}
        for i, value in enumerate(values)
    ]
    document = {
        "title": "",
        "metric": "accuracy",
        "target": "cnn",
        "sampler": "grid",
        "seed": 0,
        "judged_on": "10% of train",
        "images": {"train": 9, "validation": 1},
        "space": {},
        "trials": trials,
    }
    metrics = {"title": "x", "recipe_facts": {}}
    section = searches_section({"search.json": copy.deepcopy(document)}, metrics, {})
    blocks = [content for kind, content in section.blocks if kind in ("table", "details")][1:]
    failed = [block for block in blocks if isinstance(block, dict) and "failed" in block["summary"]]
    tables = [block["blocks"][0][1] if isinstance(block, dict) else block for block in blocks]
    numbers = [[row[0] for row in table.rows] for table in tables]
    shown = [number for of in numbers[: len(numbers) - len(failed)] for number in of]
    assert not shown or len(numbers[0]) == min(SHOWN, len(shown))
    assert sorted(number for of in numbers for number in of) == list(range(len(values)))
    assert [values[i] for i in shown] == sorted((v for v in values if v is not None), reverse=True)


@pytest.mark.parametrize("key", ["metric", "trials", "images", "judged_on"])
def test_a_damaged_document_is_named(findings, search, key):
    del search[key]
    with pytest.raises(DataError, match=f"study-trees.json: no '{key}'"):
        report_page(of(findings, {"study-trees.json": search}))


@pytest.mark.parametrize(("key", "value"), [("trials", [None]), ("figures", [1]), ("images", "many")])
def test_a_document_with_wrong_facts_is_named(findings, search, key, value):
    search[key] = value
    with pytest.raises(DataError, match=r"study-trees\.json: "):
        report_page(of(findings, {"study-trees.json": search}))
