"""What a page says of searches and studies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.report.recipe_page import Findings, report_page
from cnnboost.report.searches import SHOWN, searches_section
from tests.report.html import PNG, Page


@pytest.fixture
def html(findings, search):
    """Return a function that writes the page with the search as it is then."""

    def write(figures=None, name="study-trees.json"):
        return report_page(Findings(findings.metrics, searches={name: search}, figures=figures or {}))

    return write


def test_the_page_says_what_was_tried_and_what_came_of_it(findings, html):
    page = Page(html())
    assert "How deep the trees go" in page.text
    assert "3 trials, scored by accuracy of XGBoost at fc1 on 574 images of train" in page.text
    assert "The best reached 55.0%." in page.text
    boost = findings.metrics["recipe_facts"]["boost"]
    stated = f"boost.learning_rate = {boost['learning_rate']}, boost.max_depth = {boost['max_depth']}"
    for row in (
        ("boost.learning_rate", "0.05 to 0.3, even in the logarithm"),
        ("boost.max_depth", "4 | 6 | 99"),
        ("Fixed in every trial", "boost.n_estimators = 10"),
        ("Images", "fitted on 5,168, scored on 574 (10% of a part of train (20%))"),
        ("Sampler", "tree-structured Parzen estimators (TPE), seed 7"),
        ("Best", "boost.learning_rate = 0.2, boost.max_depth = 6"),
        ("Scored recipe", stated),
        ("trial", "accuracy", "learning_rate", "max_depth", "s"),
        ("1", "55.0% 50.0% to 60.0%", "0.2", "6", "2.5"),
        ("2", "learning_rate = 0.3, max_depth = 99", "too deep"),
    ):
        assert page.row(*row), row
    assert page.text.index("50.0% to 60.0%") < page.text.index("46.0% to 56.0%")
    assert "1 failed trial" in page.text


def test_figures_of_a_search_stand_with_it_and_nowhere_else(search, html):
    search["figures"].append({"file": "study-trees-importances.png", "title": "Importances"})
    search["figures"].append({"file": "gone.png", "title": "Gone"})
    names = ("study-trees-trials", "study-trees-importances", "study-other-trials", "history")
    text = html({f"{name}.png": PNG for name in names})
    page = Page(text)
    assert page.tags.count("img") == 4
    general, _, own = text.partition('id="searches"')
    assert "Each trial" in own
    assert "Each trial" not in general
    assert "Study other trials" in general
    assert "Gone" not in text


@pytest.mark.parametrize(("study", "title"), [("trees", "Study trees"), (None, "Search")])
def test_one_without_a_title_is_called_by_its_name(findings, search, html, study, title):
    search |= {"title": findings.metrics["title"], "study": study}
    assert f"Searches {title} 3 trials" in Page(html()).text


def test_where_every_trial_failed_their_messages_are_shown(search, html):
    search |= {"trials": search["trials"][2:], "best": None, "importances": None}
    page = Page(html())
    assert "No trial finished with a value." in page.text
    assert page.row("2", "learning_rate = 0.3, max_depth = 99", "too deep")


def test_the_smallest_log_loss_is_the_best(search, html):
    search["metric"] = "log_loss"
    page = Page(html())
    assert "scored by log-loss" in page.text
    assert "The best reached 0.510." in page.text
    (first,), (second,) = page.row("0", "0.510 0.460 to 0.560"), page.row("1", "0.550 0.500 to 0.600")
    assert page.rows.index(first) < page.rows.index(second)


def test_values_are_written_as_a_recipe_would(search, html):
    search["trials"] = search["trials"][:2]
    search["trials"][0]["values"] = {"cnn.augment": {"flip": 0.5}, "cnn.options.filters": [8, 16]}
    search["trials"][1]["values"] = {"cnn.augment": False, "cnn.options.filters": [8]}
    page = Page(html())
    assert page.row("trial", "accuracy", "augment", "filters", "s")
    assert page.row("1", "55.0% 50.0% to 60.0%", "false", "[8]")
    assert page.row("0", "51.0% 46.0% to 56.0%", "{flip = 0.5}", "[8, 16]")
    assert page.row("Scored recipe", "cnn.augment not stated, cnn.options.filters = [32, 64, 64]")
    for trial in search["trials"]:
        trial["values"] = {"cnn.learning_rate": 0.1, "boost.learning_rate": 0.2}
    assert Page(html()).row("trial", "accuracy", "cnn.learning_rate", "boost.learning_rate", "s")


@given(values=st.lists(st.none() | st.floats(0, 1), max_size=40))
def test_every_trial_is_shown_once_and_the_best_first(values):
    trials = [
        {
            "number": i,
            "value": value,
            "values": {"boost.max_depth": i},
            "seconds": 1.0,
            "error": "no",
            "interval": None,
        }
        for i, value in enumerate(values)
    ]
    document = {
        "title": "", "metric": "accuracy", "target": "cnn", "sampler": "grid", "seed": 0, "study": None,
        "stages": 1, "space": {}, "set": {}, "figures": [],
        "judged_on": "10% of train", "images": {"train": 9, "validation": 1}, "trials": trials,
    }  # fmt: skip
    section = searches_section({"search.json": document}, {"title": "x", "recipe_facts": {}}, {})
    blocks = [content for kind, content in section.blocks if kind in ("table", "details")][1:]
    failed = [block for block in blocks if isinstance(block, dict) and "failed" in block["summary"]]
    tables = [block["blocks"][0][1] if isinstance(block, dict) else block for block in blocks]
    numbers = [[row[0] for row in table.rows] for table in tables]
    shown = [number for of in numbers[: len(numbers) - len(failed)] for number in of]
    assert not shown or len(numbers[0]) == min(SHOWN, len(shown))
    assert sorted(number for of in numbers for number in of) == list(range(len(values)))
    assert [values[i] for i in shown] == sorted((v for v in values if v is not None), reverse=True)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"metric": None}, "no 'metric'"),
        ({"images": None}, "no 'images'"),
        ({"trials": [None]}, "subscriptable"),
        ({"figures": [1]}, "subscriptable"),
        ({"images": "many"}, "indices"),
    ],
)
def test_a_damaged_document_is_named(search, html, damage, says):
    ((key, value),) = damage.items()
    del search[key]
    if value is not None:
        search[key] = value
    with pytest.raises(DataError, match=rf"study-trees\.json: .*{says}"):
        html()
