"""Figures of a search say what its table says, whatever the values are."""

from __future__ import annotations

import pytest

from cnnboost.errors import DataError
from cnnboost.report.search_plots import (
    plot_importances,
    plot_learning_curves,
    plot_points,
    plot_trials,
    search_figures,
    value_label,
)

AUGMENT = {"choices": [False, {"flip": 0.5, "rotation": 10}]}
FILTERS = {"choices": [[8], [8, 16], [8, 16, 16]]}
RATE = {"low": 1e-5, "high": 1e-1, "log": True}


def trial(number, value, history=None, interval=True, **values):
    spread = [value - 0.02, value + 0.02] if value is not None and interval else None
    return {
        "number": number,
        "value": value,
        "values": values,
        "interval": spread,
        "history": history,
    }


def texts(axes):
    return [text.get_text() for text in axes.texts]


def document(trials, space, metric="accuracy", importances=None):
    return {
        "title": "A study",
        "metric": metric,
        "confidence": 0.95,
        "space": space,
        "trials": trials,
        "importances": importances,
    }


@pytest.mark.parametrize(("metric", "best"), [("accuracy", [0.4, 0.5, 0.5]), ("log_loss", [0.4, 0.4, 0.3])])
def test_trials_show_the_best_so_far_and_mark_what_failed(metric, best):
    trials = [trial(0, 0.4), trial(1, None), trial(2, 0.5), trial(3, 0.3)]
    axes = plot_trials(trials, metric).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["best so far"].get_ydata().tolist() == best
    assert lines["trial"].get_xdata().tolist() == [0, 2, 3]
    assert list(lines["failed"].get_xdata()) == [1]
    assert ("lower" if metric == "log_loss" else "higher") in axes.get_ylabel()


def test_points_of_one_key_stand_in_the_order_of_its_choices_with_intervals():
    trials = [trial(0, 0.5, f=[8, 16, 16]), trial(1, 0.4, f=[8]), trial(2, 0.45, f=[8, 16])]
    axes = plot_points(trials, {"f": FILTERS}, "accuracy", confidence=0.9).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "8, 16", "8, 16, 16"]
    assert axes.get_ylabel() == "accuracy, with 90% interval"
    (container,) = axes.containers
    assert container.lines[0].get_xdata().tolist() == [2, 0, 1]
    assert container.lines[0].get_ydata().tolist() == [0.5, 0.4, 0.45]
    low, high = container.lines[2][0].get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((0.38, 0.42))


def test_of_two_keys_the_one_with_fewer_values_gives_the_marks():
    values = [(f, a) for f in FILTERS["choices"] for a in AUGMENT["choices"]]
    trials = [trial(i, 0.4 + i / 100, filters=f, augment=a) for i, (f, a) in enumerate(values)]
    del trials[2]  # 8, 16 without augmentation failed
    figure = plot_points(trials, {"augment": AUGMENT, "filters": FILTERS}, "accuracy")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "filters"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    marks = ["augment = false", "augment = flip 0.5, rotation 10"]
    assert sorted(labels) == sorted([*marks, "best trial (number 5, 45.0%)"])
    first, second = (container.lines[0] for container in axes.containers)
    assert first.get_ydata() == pytest.approx([0.4, 0.44])
    assert second.get_ydata() == pytest.approx([0.41, 0.43, 0.45])
    assert first.get_xdata() == pytest.approx([0 - 0.04, 2 - 0.04])
    assert first.get_marker() != second.get_marker()


def test_points_of_a_range_stand_on_an_axis_of_its_kind():
    trials = [trial(i, 0.5, interval=False, rate=10.0 ** -(1 + i / 5)) for i in range(20)]
    axes = plot_points(trials, {"rate": RATE}, "accuracy").axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "accuracy (higher is better)"


def test_each_of_many_keys_has_a_panel_with_the_best_trial():
    space = {"cnn.rate": RATE, "cnn.augment": AUGMENT, "boost.depth": {"low": 2, "high": 12}, "f": FILTERS}
    trials = []
    for i in range(20):
        values = {"cnn.rate": 10.0 ** -(1 + i / 5), "cnn.augment": False, "boost.depth": i, "f": [8]}
        trials.append(trial(i, 0.4 + i / 100, **values))
    figure = plot_points(trials, space, "accuracy")
    panels = figure.axes[:4]
    assert [axes.get_xlabel() for axes in panels] == list(space)
    assert [axes.get_xscale() for axes in panels] == ["log", "linear", "linear", "linear"]
    assert [axes.lines[-1].get_ydata()[0] for axes in panels] == pytest.approx([0.59] * 4)
    assert panels[2].lines[-1].get_xdata() == [19]
    assert panels[0].get_ylabel() == "accuracy (higher is better)"  # intervals would hide each other


def test_importances_are_bars_with_their_shares():
    axes = plot_importances({"cnn.rate": 0.75, "cnn.dropout": 0.25}, "accuracy").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.75]
    assert texts(axes) == ["25%", "75%"]


def test_curves_put_the_best_trial_before_the_others():
    def history(end):
        return {
            "loss": [2.0, 1.0],
            "accuracy": [0.1, end],
            "val_loss": [2.0, 1.5],
            "val_accuracy": [0.1, end],
        }

    trials = [trial(i, end, history(end)) for i, end in enumerate([0.4, 0.6, 0.5])]
    figure = plot_learning_curves([*trials, trial(3, None)], "accuracy")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["other trials, validation", "best trial, train", "best trial (number 1), validation"]
    lines = figure.axes[0].lines
    assert len(lines) == 4
    assert lines[-1].get_ydata()[-1] == 0.6
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "loss (nats)"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_trials([], "accuracy"),
        lambda: plot_points([], {"a": FILTERS}, "accuracy"),
        lambda: plot_importances({}, "accuracy"),
        lambda: plot_learning_curves([trial(0, 0.5, f=[8])], "accuracy"),
    ],
)
def test_nothing_is_not_drawn(draw):
    with pytest.raises(DataError, match="nothing to draw"):
        draw()


def test_a_search_has_the_figures_that_it_has_something_for():
    trials = [trial(0, 0.5, f=[8]), trial(1, 0.6, f=[8, 16])]
    assert list(search_figures(document(trials, {"f": FILTERS}))) == ["trials", "points"]
    curves = [trial(0, 0.5, {"loss": [1.0], "accuracy": [0.5]}, f=[8])]
    assert list(search_figures(document(curves, {"f": FILTERS}))) == ["trials", "points", "curves"]
    three = [trial(0, 0.5, f=[8], g=[8], h=[8])]
    shares = {"f": 1.0, "g": 0.0, "h": 0.0}
    kinds = search_figures(document(three, dict.fromkeys("fgh", FILTERS), importances=shares))
    assert list(kinds) == ["trials", "points", "importances"]
    assert kinds["points"][0] == "A study: accuracy against each key"
    assert list(search_figures(document([trial(0, None, f=[8])], {"f": FILTERS}))) == ["trials"]
    assert search_figures(document([], {"f": FILTERS})) == {}


@pytest.mark.parametrize(
    ("values", "metric", "n_keys"),
    [([0.5], "accuracy", 1), ([0.0, 1.0], "log_loss", 2), ([0.3, 0.3, 0.7], "macro_f1", 4)],
)
def test_no_text_is_cut_off(values, metric, n_keys):
    keys = [f"cnn.options.some_long_name_{i}" for i in range(n_keys)]
    spaces = [FILTERS, AUGMENT, RATE, {"low": 2, "high": 12}]
    starts = [[8], {"flip": 0.5, "rotation": 10}, 1e-3, 5]
    trials = [trial(i, v, **dict(zip(keys, starts, strict=False))) for i, v in enumerate(values)]
    found = search_figures(document(trials, dict(zip(keys, spaces, strict=False)), metric))
    for _, figure in found.values():
        figure.draw_without_rendering()
        drawn = figure.get_tightbbox()
        assert min(drawn.x0, drawn.y0) >= 0
        assert drawn.x1 <= figure.get_figwidth()
        assert drawn.y1 <= figure.get_figheight()


def test_values_are_written_as_in_a_recipe():
    assert value_label({"flip": 0.5, "options": [1, 2]}) == "flip 0.5\noptions 1, 2"
    assert value_label([]) == value_label({}) == value_label(None) == "none"
    assert value_label(False) == "false"
    assert value_label(0.30000000000000004) == "0.3"
