"""Figures of a search show what its table says, whatever the values are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cnnboost.report.search_plots import (
    plot_importances,
    plot_learning_curves,
    plot_points,
    plot_slices,
    plot_trials,
    search_figures,
)
from tests.report.legible import assert_legible

AUGMENT = {"choices": [False, {"flip": 0.5, "rotation": 10}]}
FILTERS = {"choices": [[8], [8, 16], [8, 16, 16]]}
RATE = {"low": 1e-5, "high": 1e-1, "log": True}


def trial(number, value, history=None, interval=True, **values):
    spread = [value - 0.02, value + 0.02] if value is not None and interval else None
    return {"number": number, "value": value, "values": values, "interval": spread, "history": history}


def points(trials, space, metric="accuracy"):
    return plot_points(trials, space, metric, confidence=0.9, title="Points")


@pytest.mark.parametrize(("metric", "best"), [("accuracy", [0.4, 0.5, 0.5]), ("log_loss", [0.4, 0.4, 0.3])])
def test_trials_show_the_best_so_far_and_mark_what_failed(metric, best):
    trials = [trial(0, 0.4), trial(1, None), trial(2, 0.5), trial(3, 0.3)]
    axes = plot_trials(trials, metric, title="Trials").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["best so far"].get_ydata().tolist() == best
    assert lines["trial"].get_xdata().tolist() == [0, 2, 3]
    assert list(lines["failed"].get_xdata()) == [1]
    assert ("lower" if metric == "log_loss" else "higher") in axes.get_ylabel()


def test_points_of_one_key_stand_in_the_order_of_its_choices_with_intervals():
    trials = [trial(0, 0.5, f=[8, 16, 16]), trial(1, 0.4, f=[8]), trial(2, 0.45, f=[8, 16])]
    axes = points(trials, {"f": FILTERS}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["[8]", "[8, 16]", "[8, 16, 16]"]
    assert axes.get_ylabel() == "accuracy, with 90% interval"
    (container,) = axes.containers
    assert container.lines[0].get_xdata().tolist() == [2, 0, 1]
    assert container.lines[0].get_ydata().tolist() == [0.5, 0.4, 0.45]
    low, high = container.lines[2][0].get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((0.38, 0.42))


def test_of_two_keys_the_one_with_fewer_values_gives_the_marks():
    values = [(f, a) for f in FILTERS["choices"] for a in AUGMENT["choices"]]
    trials = [trial(i, 0.4 + i / 100, filters=f, augment=a) for i, (f, a) in enumerate(values)]
    del trials[2]  # [8, 16] without augmentation failed
    figure = points(trials, {"augment": AUGMENT, "filters": FILTERS})
    (axes,) = figure.axes
    assert axes.get_xlabel() == "filters"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    marks = ["augment = false", "augment = {flip = 0.5, rotation = 10}"]
    assert sorted(labels) == sorted([*marks, "best trial (number 5, 45.0%)"])
    first, second = (container.lines[0] for container in axes.containers)
    assert first.get_ydata() == pytest.approx([0.4, 0.44])
    assert second.get_ydata() == pytest.approx([0.41, 0.43, 0.45])
    assert first.get_xdata() == pytest.approx([0 - 0.04, 2 - 0.04])
    assert first.get_marker() != second.get_marker()


def test_each_of_many_keys_has_a_panel_with_the_best_trial():
    space = {"cnn.rate": RATE, "cnn.augment": AUGMENT, "boost.depth": {"low": 2, "high": 12}, "f": FILTERS}
    trials = []
    for i in range(20):
        values = {"cnn.rate": 10.0 ** -(1 + i / 5), "cnn.augment": AUGMENT["choices"][1], "boost.depth": i}
        trials.append(trial(i, 0.4 + i / 100, **values, f=[8]))
    panels = points(trials, space).axes[:4]
    assert [axes.get_xlabel() for axes in panels] == list(space)
    assert [axes.get_xscale() for axes in panels] == ["log", "linear", "linear", "linear"]
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["flip = 0.5\nrotation = 10"]
    assert [axes.lines[-1].get_ydata()[0] for axes in panels] == pytest.approx([0.59] * 4)
    assert panels[2].lines[-1].get_xdata() == [19]
    # Intervals would hide each other.
    better = "accuracy (higher is better)"
    assert [axes.get_ylabel() for axes in panels] == [better, "", "", better]


def test_importances_are_bars_with_their_shares():
    axes = plot_importances({"cnn.dropout": 0.25, "cnn.rate": 0.75}, "accuracy", title="Shares").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.25]
    assert [text.get_text() for text in axes.texts] == ["75%", "25%"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cnn.rate", "cnn.dropout"]


def history(*accuracies):
    loss = [2.0 - accuracy for accuracy in accuracies]
    both = {"loss": loss, "accuracy": list(accuracies)}
    return both | {f"val_{name}": values for name, values in both.items()}


def test_of_many_curves_the_best_trial_stands_out():
    ends = [0.4, 0.6, *(0.5 - i / 100 for i in range(8))]
    trials = [trial(i, end, history(0.1, end)) for i, end in enumerate(ends)]
    figure = plot_learning_curves(trials, "accuracy", title="Curves")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["other trials, validation", "best trial, train", "best trial (number 1), validation"]
    lines = figure.axes[0].lines
    assert len(lines) == 11
    assert lines[-1].get_ydata()[-1] == 0.6
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "loss (nats)"]


def test_each_of_a_few_curves_is_named_by_its_values():
    values = {"cnn.options.filters": [8], "cnn.options.dropout": 0.5}
    trials = [
        trial(0, 0.6, history(0.1, 0.6), **values),
        trial(1, 0.4, history(0.1, 0.4), **{**values, "cnn.options.dropout": 0}),
    ]
    figure = plot_learning_curves(trials, "accuracy", title="Curves")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(names) == ["filters = [8], dropout = 0", "filters = [8], dropout = 0.5"]
    of = {line.get_label(): line for line in figure.axes[0].lines}
    assert of["filters = [8], dropout = 0.5"].get_ydata().tolist() == [0.1, 0.6]
    assert_legible(figure)


def test_a_grid_over_three_keys_is_drawn_in_slices():
    space = {"rate": {"choices": [0.1, 0.01, 0.001]}, "l2": {"choices": [0, 1]}, "size": {"choices": [8, 16]}}
    grid = itertools.product(*(of["choices"] for of in space.values()))
    trials = [trial(i, i / 20, rate=rate, l2=l2, size=size) for i, (rate, l2, size) in enumerate(grid)]
    del trials[7]  # it failed
    figure = plot_slices(trials, space, "accuracy", title="Slices")
    assert [axes.get_title() for axes in figure.axes] == ["l2 = 0", "l2 = 1"]
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, [[0.1, 0.3, 0.5], [0.15, np.nan, 0.55]])
    assert [text.get_text() for text in figure.axes[1].texts] == ["10.0%", "30.0%", "50.0%", "15.0%", "55.0%"]
    assert_legible(figure)
    document = {
        "title": "A study",
        "metric": "accuracy",
        "confidence": 0.95,
        "space": space,
        "trials": trials,
    }
    assert "slices" in search_figures(document)


@pytest.mark.parametrize(
    ("trials", "importances", "kinds"),
    [
        ([], None, []),
        ([trial(0, None, f=[8])], None, ["trials"]),
        ([trial(0, 0.5, f=[8]), trial(1, 0.6, f=[8, 16])], None, ["trials", "points"]),
        ([trial(0, 0.5, history(0.5), f=[8]), trial(1, None)], None, ["trials", "points", "curves"]),
        ([trial(0, 0.5, f=[8])], {"f": 1.0}, ["trials", "points", "importances"]),
    ],
)
def test_a_search_has_the_figures_that_it_has_something_for(trials, importances, kinds):
    document = {"title": "A study", "metric": "accuracy", "confidence": 0.95, "space": {"f": FILTERS}}
    figures = search_figures({**document, "trials": trials, "importances": importances})
    assert list(figures) == kinds
    if "points" in kinds:
        assert figures["points"][0] == "A study: accuracy against f"


@pytest.mark.parametrize(
    ("values", "metric", "n_keys"),
    [([0.5], "accuracy", 1), ([0.1, 1.0], "log_loss", 2), ([0.3, 0.3, 0.7], "macro_f1", 4)],
)
def test_no_text_is_cut_off(values, metric, n_keys):
    keys = [f"cnn.options.some_long_name_{i}" for i in range(n_keys)]
    spaces = [FILTERS, AUGMENT, RATE, {"low": 2, "high": 12}]
    starts = dict(zip(keys, [[8], {"flip": 0.5, "rotation": 10}, 1e-3, 5], strict=False))
    space = dict(zip(keys, spaces, strict=False))
    assert_legible(points([trial(i, v, **starts) for i, v in enumerate(values)], space, metric))
