"""Printed tables beside own ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnnboost.config import changed, load_recipe
from cnnboost.config.published import Printed
from cnnboost.errors import RecipeError
from cnnboost.report.printed import own_value, printed_section


@pytest.fixture
def metrics():
    facts = json.loads(Path(__file__).with_name("report_facts.json").read_text(encoding="utf-8"))
    return facts["metrics"]


def element(**given):
    return Printed(**{"place": "Table 1", "title": "One", **given})


def refused(**given):
    """Return what is said of an element that the digits recipe does not hold."""
    studies = {
        "depth": {"sampler": "grid", "space": {"boost.max_depth": {"choices": [2, 4]}}, "target": "fc1"}
    }
    table = {"source": "A study", "printed": [{"place": "Table 1", "title": "One", **given}]}
    with pytest.raises(RecipeError) as caught:
        changed(
            load_recipe("digits"),
            {"studies": studies, "evaluate.published": table},
        )
    return str(caught.value)


SWEEP = {"kind": "sweep", "columns": ["accuracy"]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "scores", "columns": ["f2"], "rows": {"cnn": [0.5]}}, ["'f2' of 'scores'", "macro_f1"]),
        (
            {"kind": "scores", "columns": ["accuracy", "log_loss"], "rows": {"cnn": [0.5]}},
            ["row 'cnn' has 1 cells", "2 columns"],
        ),
        ({**SWEEP, "study": "width", "rows": {"2": [0.5]}}, ["no study 'width'", "depth"]),
        ({**SWEEP, "study": "depth", "rows": {"3": [0.5]}}, ["does not try boost.max_depth = 3"]),
        ({**SWEEP, "study": "depth", "rows": {"2, 4": [0.5]}}, ["a value for each of boost.max_depth"]),
        (
            {**SWEEP, "study": "depth", "keys": ["boost.gamma"], "rows": {"2": [0.5]}},
            ["keys = ['boost.gamma']", "boost.max_depth"],
        ),
        (SWEEP, ["a sweep names its study"]),
        ({**SWEEP, "study": "depth", "values": {"deep": [4]}}, ["'deep', which is not among its rows"]),
        ({"kind": "thresholds", "columns": ["f1"], "rows": {"low": [0.5]}}, ["by its threshold, got 'low'"]),
        ({"under": {"cnn.epohs": 3}}, ["'cnn.epohs' is not a key"]),
        (
            {"kind": "settings", "columns": ["value"], "rows": {"cmm.epochs": [3]}},
            ["'cmm.epochs' is not a key"],
        ),
        ({"run": "in part"}, ["needs a reason"]),
        ({"run": "partly"}, ["partly", "in part"]),
        ({"rows": {"a": 3}}, ["rows"]),
        ({"x": [0.5]}, ["unknown key"]),
    ],
)
def test_what_does_not_fit_the_recipe_is_refused(given, words):
    said = refused(**given)
    assert all(word in said for word in ["published", *words]), said


def test_a_cell_that_is_nan_is_empty():
    table = element(kind="classes", columns=("precision", "f1"), rows={"a": (float("nan"), 0.5)})
    assert table.rows == {"a": (None, 0.5)}


def test_every_number_finds_its_own(metrics):
    classes, scores = metrics["classes"], metrics["cnn"]["scores"]
    of_scores = element(kind="scores", columns=("accuracy",), rows={"cnn": (0.5,), "fc9": (0.5,)})
    documents = {"metrics": metrics, "audit": {"counts": {"train": {"a": 3, "b": 4}}}}
    assert own_value(of_scores, "cnn", "accuracy", documents) == scores["accuracy"]["value"]
    assert own_value(of_scores, "fc9", "accuracy", documents) is None
    of_classes = element(kind="classes", columns=("accuracy",), rows={classes[0]: (0.5,)})
    assert own_value(of_classes, classes[0], "accuracy", documents) == pytest.approx(
        scores["per_class"][0]["recall"]["value"]
    )
    matrix = element(kind="confusion", columns=classes, rows={one: [1] * len(classes) for one in classes})
    first = scores["confusion"][0]
    assert own_value(matrix, classes[0], classes[0], documents) == pytest.approx(first[0] / sum(first))
    counts = element(kind="images", columns=("train",), rows={"all": (9,), "a": (3,)})
    assert own_value(counts, "all", "train", documents) == 7
    assert own_value(counts, "a", "train", documents) == 3
    rate = element(kind="settings", columns=("value",), rows={"cnn.learning_rate": (1e-3,)})
    stated = metrics["recipe_facts"]["cnn"]["learning_rate"]
    assert own_value(rate, "cnn.learning_rate", "value", documents) == stated


THRESHOLDS = {
    "best": {"f1": {"value": 0.45}},
    "sweep": [{"threshold": 0.4, "recall": 0.9}, {"threshold": 0.42, "recall": 0.8}],
}
LATENCIES = [
    {"path": "cnn/predict", "p50_ms": 30.0, "all_images": False},
    {"path": "cnn/predict", "p50_ms": 1500.0, "all_images": True},
]
PER_CLASS = [
    {"name": "a", "support": 2, "precision": {"value": 0.5}, "recall": {"value": 1.0}, "f1": {"value": 0.6}},
    {"name": "b", "support": 2, "precision": {"value": 0.7}, "recall": {"value": 0.2}, "f1": {"value": 0.3}},
    {"name": "c", "support": 0, "precision": {"value": 0.0}, "recall": {"value": 0.0}, "f1": {"value": 0.0}},
]


@pytest.mark.parametrize(
    ("kind", "row", "column", "own"),
    [
        ("scores", "cnn", "train_accuracy", 0.9),
        ("scores", "cnn", "best_f1", 0.45),
        ("scores", "cnn", "macro_precision", 0.6),  # of the classes that have images
        ("scores", "cnn", "macro_recall", 0.6),
        ("classes", "b", "precision", 0.7),
        ("classes", "b", "auc", 0.8),
        ("classes", "d", "precision", None),
        ("thresholds", "0.42", "recall", 0.8),
        ("thresholds", "0.5", "recall", None),
        ("repeats", "a", "std", 0.1),
        ("repeats", "d", "std", None),
        ("latency", "cnn/predict", "seconds", 1.5),
        ("latency", "head/dmatrix", "seconds", None),
        ("text", "cnn", "accuracy", None),
    ],
)
def test_every_kind_finds_its_own(kind, row, column, own):
    cnn = {
        "train_accuracy": 0.9,
        "thresholds": THRESHOLDS,
        "auc": {"b": {"value": 0.8}},
        "scores": {"per_class": PER_CLASS},
    }
    spread = {"name": "a", "recall": {"std": 0.1}, "f1": {"std": 0.2}}
    documents = {
        "metrics": {"cnn": cnn, "heads": []},
        "repeats": {"repeats": 4, "cnn": {"per_class": [spread]}},
        "latency": {"rows": LATENCIES},
    }
    score = "recall" if kind == "repeats" else None
    table = element(kind=kind, score=score, columns=(column,), rows={row: (0.5,)})
    assert own_value(table, row, column, documents) == (None if own is None else pytest.approx(own))


def shown(table, documents):
    """Return the names of the columns and the cells of an element's table."""
    (_, (_, block)) = printed_section([table], documents).blocks
    ((_, made),) = block["blocks"]
    return [column.title for column in made.columns], [[str(cell) for cell in row] for row in made.cells()]


def test_own_values_are_shown_beside_printed_ones_or_below_where_there_are_many():
    table = element(kind="images", columns=("train",), rows={"all": (9,), "d": (2,)})
    documents = {"metrics": {}, "audit": {"counts": {"train": {"a": 3, "b": 4}}}}
    names, cells = shown(table, documents)
    assert names == ["", "train, printed", "train, own", "train, difference"]
    assert cells == [
        ["all classes", "9", "7", "\N{MINUS SIGN}2"],
        ["d", "2", "\N{EN DASH}", "\N{EN DASH}"],
    ]
    table = element(kind="images", columns=("train", "validation", "test"), rows={"all": (9, 1, None)})
    names, cells = shown(table, documents)
    assert names == ["", "train", "validation", "test"]
    assert cells == [["all classes", "9 (own 7, \N{MINUS SIGN}2)", "1", "\N{EN DASH}"]]


def test_a_trial_is_found_by_key_and_value():
    keys = ("cnn.learning_rate", "cnn.options.l2")
    table = element(
        kind="sweep", study="grid", keys=keys, columns=("accuracy", "relative_gain"),
        rows={"cnn": (0.5, None), "1e-3, 1e-4": (0.6, 0.2), "1e-4, 1e-3": (0.7, 0.4)},
    )  # fmt: skip
    trials = [
        {"values": dict(zip(keys, values, strict=True)), "value": value, "cnn": 0.5}
        for values, value in (((1e-4, 1e-3), 0.4), ((1e-3, 1e-4), 0.6))
    ]
    found = {"metric": "accuracy", "space": dict.fromkeys(keys), "trials": trials}
    documents = {"metrics": {}, "searches": {"study-grid.json": found}}
    assert own_value(table, "1e-3, 1e-4", "accuracy", documents) == 0.6
    assert own_value(table, "1e-4, 1e-3", "accuracy", documents) == 0.4
    assert own_value(table, "1e-3, 1e-4", "relative_gain", documents) == pytest.approx(0.2)
    assert own_value(table, "cnn", "accuracy", documents) == 0.5
    assert own_value(table, "cnn", "accuracy", {"metrics": {}, "searches": {}}) is None
    # A search that is older than the recipe may be of other keys.
    table = element(kind="sweep", study="grid", columns=("accuracy",), rows={"1e-3": (0.6,)})
    assert own_value(table, "1e-3", "accuracy", documents) is None


def test_a_row_may_have_a_better_name_than_its_values():
    table = element(
        kind="sweep", study="weights", columns=("accuracy",), rows={"weighted": (0.6,), "not": (0.5,)},
        values={"weighted": ("balanced",), "not": (False,)},
    )  # fmt: skip
    trials = [
        {"values": {"cnn.class_weight": value}, "value": score}
        for value, score in (("balanced", 0.6), (False, 0.5))
    ]
    found = {"metric": "accuracy", "space": {"cnn.class_weight": {}}, "trials": trials}
    documents = {"metrics": {}, "searches": {"study-weights.json": found}}
    assert [own_value(table, row, "accuracy", documents) for row in table.rows] == [0.6, 0.5]


def test_scores_under_other_settings_have_no_place_beside_it(metrics):
    given = {"kind": "scores", "columns": ("accuracy",), "rows": {"cnn": (0.5,)}}
    epochs = metrics["recipe_facts"]["cnn"]["epochs"]
    documents = {"metrics": metrics}
    same = element(**given, under={"cnn.epochs": epochs, "cnn.augment": False})
    assert own_value(same, "cnn", "accuracy", documents) is not None
    for under in ({"cnn.epochs": epochs + 1}, {"cnn.augment": {"flip": 0.5}}, {"cnn.nothing.here": 3}):
        assert own_value(element(**given, under=under), "cnn", "accuracy", documents) is None


def test_repeats_and_their_standard_error():
    spread = {"max": 0.7, "min": 0.5, "std": 0.1, "variance": 0.01, "mean": 0.6}
    table = element(kind="repeats", columns=("mean", "standard_error"), rows={"accuracy": (0.6, 0.05)})
    repeats = {"repeats": 4, "cnn": {"accuracy": spread, "per_class": []}}
    documents = {"metrics": {}, "repeats": repeats}
    assert own_value(table, "accuracy", "mean", documents) == 0.6
    assert own_value(table, "accuracy", "standard_error", documents) == pytest.approx(0.05)
    assert own_value(table, "accuracy", "mean", {"metrics": {}, "repeats": None}) is None


def test_the_list_says_where_each_element_is(metrics):
    figure = element(kind="sweep", study="width", run="in part", why="ten epochs")
    elements = [
        figure,
        element(kind="scores", columns=("accuracy",), rows={"cnn": (0.5,)}),
        element(columns=("accuracy",), rows={"others": (0.7,)}),
        element(kind="settings", columns=("value",), rows={"nodes": (1000,)}),
        element(run="not a result"),
    ]

    def places(documents):
        first = printed_section(elements, documents).blocks[0]
        return [row[2] for row in first[1].rows]

    study = {"metric": "accuracy", "space": {}, "trials": []}
    assert places({"metrics": metrics}) == [
        "study width, not run yet", "below", "printed values below", "not measured yet", ""
    ]  # fmt: skip
    assert places({"metrics": metrics, "searches": {"study-width.json": study}})[0] == (
        "study width, under Searches"
    )
    assert printed_section([], {"metrics": metrics}) is None


@pytest.mark.parametrize("name", ["oslo", "hust_vgg19", "imperial_mlp", "ubi_scaled_down", "uniandes_binary"])
def test_every_element_of_a_study_is_listed_and_its_numbers_are_shown(name, metrics):
    printed = load_recipe(name).evaluate.published.printed
    (_, listed), *tables = printed_section(printed, {"metrics": metrics}).blocks
    assert [row[:2] for row in listed.rows] == [[one.place, one.title] for one in printed]
    made = [block["blocks"][0][1] for _, block in tables]
    assert [len(list(table.cells())) for table in made] == [len(one.rows) for one in printed if one.rows]
