"""Figures: what they show, that nothing overlaps, and how they are written."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from cnnboost.errors import DataError, StoreError
from cnnboost.evaluation.plots import (
    plot_class_distribution,
    plot_confusion,
    plot_contact_sheet,
    plot_history,
    save_figure,
)

NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
COUNTS = {
    "train": dict(zip(NAMES, [3995, 436, 4097, 7215, 4830, 3171, 4965], strict=True)),
    "validation": dict(zip(NAMES, [467, 56, 496, 895, 653, 415, 607], strict=True)),
}


def texts(figure) -> list[str]:
    """Every text that is drawn."""
    return [text.get_text() for text in _drawn(figure)]


def _drawn(figure) -> list:
    from matplotlib.text import Text

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a layout that did not fit
        figure.canvas.draw()
    ticks = [
        (tick, axis.get_view_interval())
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
    ]
    # matplotlib keeps ticks beyond the ends of an axis and does not draw them.
    beyond = {tick.label1 for tick, ends in ticks if not min(ends) <= tick.get_loc() <= max(ends)}
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in found if text not in beyond]


def assert_legible(figure) -> None:
    """No upright or level text lies on another, and none is cut off at the edge."""
    drawn = _drawn(figure)
    boxes = np.array([text.get_window_extent().extents for text in drawn])
    width, height = figure.bbox.size
    inside = (boxes >= -1).all(axis=1) & (boxes[:, 2] <= width + 1) & (boxes[:, 3] <= height + 1)
    assert inside.all(), f"cut off: {[drawn[i].get_text() for i in np.flatnonzero(~inside)]}"
    level = np.flatnonzero([text.get_rotation() % 90 == 0 for text in drawn])
    low, high = boxes[level, None, :2] + 0.5, boxes[level, None, 2:] - 0.5
    overlap = ((low < high.swapaxes(0, 1)) & (low.swapaxes(0, 1) < high)).all(axis=2)
    np.fill_diagonal(overlap, False)
    pairs = [(drawn[level[i]].get_text(), drawn[level[j]].get_text()) for i, j in np.argwhere(overlap)]
    assert not pairs, f"these lie on each other: {pairs[:5]}"


def test_class_distribution_shows_every_count():
    figure = plot_class_distribution(COUNTS)
    shown = texts(figure)
    for name, count in [*COUNTS["train"].items(), *COUNTS["validation"].items()]:
        assert name in shown
        assert f"{count:,}" in shown
    assert {"train (28,709)", "validation (3,589)", "Images per class", "images"} <= set(shown)
    assert {patch.get_width() for patch in figure.axes[0].patches} >= {7215, 56}
    assert_legible(figure)


@pytest.mark.parametrize(("classes", "splits"), [(1, 1), (2, 3), (10, 3), (100, 3)])
def test_class_distribution_stays_legible(classes, splits):
    counts = {f"split {s}": {f"class {c}": 1000 * s + c for c in range(classes)} for s in range(splits)}
    assert_legible(plot_class_distribution(counts))


def test_class_distribution_shows_a_class_that_a_split_lacks():
    figure = plot_class_distribution({"train": {"a": 3, "b": 2}, "test": {"a": 1}})
    assert texts(figure).count("0") >= 2  # on the bar, and on the axis
    with pytest.raises(DataError, match="no split has a class"):
        plot_class_distribution({"train": {}})


def test_names_are_no_formulas():
    assert r"\$a$" not in texts(plot_class_distribution({"train": {"$a$": 1}}))
    figure = plot_class_distribution({"train": {r"$\frac{$": 1}})
    figure.draw_without_rendering()  # would fail as a formula


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_contact_sheet_shows_the_images_themselves(channels):
    rng = np.random.default_rng(0)
    shape = (9, 6, 5) if channels is None else (9, 6, 5, channels)
    images = rng.integers(0, 255, shape, dtype=np.uint8)
    labels = ["happy"] * 4 + ["sad"] * 5
    figure = plot_contact_sheet(images, labels, columns=4)
    [axes] = figure.axes
    sheet = np.asarray(axes.images[0].get_array())
    assert sheet.shape == (2 * 6 + 1, 4 * 5 + 3, 3)
    colour = np.broadcast_to(images.reshape(9, 6, 5, -1), (9, 6, 5, 3))
    np.testing.assert_array_equal(sheet[:6, :5], colour[0])
    np.testing.assert_array_equal(sheet[7:, 18:], colour[7])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy", "sad"]
    assert "Examples of each class, 5x6 pixels" in texts(figure)
    assert_legible(figure)


def test_contact_sheet_has_room_for_long_names():
    images = np.zeros((10, 8, 8, 1), np.uint8)
    assert_legible(plot_contact_sheet(images, [f"a rather long class name {i}" for i in range(10)]))


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((2, 4, 4, 1)), ["a", "b"], "uint8"),
        (np.zeros((2, 4, 4, 2), np.uint8), ["a", "b"], "1 or 3"),
        (np.zeros((0, 4, 4, 1), np.uint8), [], r"\(0, 4, 4, 1\)"),
        (np.zeros((2, 4, 4, 1), np.uint8), ["a"], "2 images need 2 labels; got 1"),
    ],
)
def test_contact_sheet_refuses_what_it_cannot_draw(images, labels, says):
    with pytest.raises(DataError, match=says):
        plot_contact_sheet(images, labels)


def test_history_shows_train_and_validation_over_epochs_from_one():
    history = {
        "accuracy": [0.3, 0.5, 0.6],
        "loss": [1.8, 1.2, 1.0],
        "val_accuracy": [0.4, 0.45, 0.44],
        "val_loss": [1.6, 1.5, 1.55],
        "learning_rate": [1e-3] * 3,
    }
    figure = plot_history(history)
    assert [axes.get_title() for axes in figure.axes] == ["Accuracy", "Loss"]
    for axes, name in zip(figure.axes, ("accuracy", "loss"), strict=True):
        train, validation = axes.lines
        assert train.get_xdata().tolist() == [1, 2, 3]
        assert list(train.get_ydata()) == history[name]
        assert list(validation.get_ydata()) == history[f"val_{name}"]
        assert train.get_linestyle() != validation.get_linestyle()  # told apart in a grey print
    assert_legible(figure)


@pytest.mark.parametrize("epochs", [1, 2, 50])
def test_history_of_any_length(epochs):
    figure = plot_history({"loss": np.linspace(2, 1, epochs).tolist()})
    assert len(figure.axes) == 1
    assert len(figure.axes[0].lines) == 1
    assert_legible(figure)


@pytest.mark.parametrize("history", [{}, {"loss": []}, {"learning_rate": [0.1]}])
def test_history_of_nothing_is_refused(history):
    with pytest.raises(DataError, match="neither accuracy nor loss"):
        plot_history(history)


def test_confusion_shows_percent_of_the_true_class_or_counts():
    matrix = np.array([[30, 10], [0, 1200]])
    percent = plot_confusion(matrix, ["angry", "happy"], title="XGBoost at fc1", normalise=True)
    assert {"75", "25", "100", "XGBoost at fc1", "angry (40)", "happy (1,200)", "predicted class"} <= set(
        texts(percent)
    )
    assert np.asarray(percent.axes[0].images[0].get_array()).tolist() == [[75, 25], [0, 100]]
    counts = plot_confusion(matrix, ["angry", "happy"], normalise=False)
    assert {"30", "10", "1,200"} <= set(texts(counts))


@pytest.mark.parametrize("k", [2, 7, 10, 25, 40])
@pytest.mark.parametrize("normalise", [True, False])
def test_confusion_stays_legible(k, normalise):
    matrix = np.random.default_rng(0).integers(0, 900, (k, k))
    names = NAMES if k == 7 else [f"class {i}" for i in range(k)]
    assert_legible(plot_confusion(matrix, names, title="XGBoost at fc1, validation", normalise=normalise))


def test_confusion_of_a_class_without_images_has_no_shares():
    figure = plot_confusion([[1, 1], [0, 0]], ["a", "b"])
    assert texts(figure).count("-") == 2


@pytest.mark.parametrize("matrix", [[[1]], [[1, 2, 3]] * 2, [[1, -1], [0, 1]]])
def test_confusion_must_fit_the_classes(matrix):
    with pytest.raises(DataError, match="2 classes has 2 x 2 counts"):
        plot_confusion(matrix, ["a", "b"])


def test_saved_twice_is_the_same_file_and_nothing_else_is_left(tmp_path):
    path = save_figure(plot_class_distribution(COUNTS), tmp_path / "figures" / "classes.png")
    first = path.read_bytes()
    save_figure(plot_class_distribution(COUNTS), path)
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["classes.png"]
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
        assert "Software" not in image.info


def test_a_figure_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"x\.png cannot be written"):
        save_figure(plot_history({"loss": [1.0]}), tmp_path / "file" / "x.png")


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys, cnnboost.evaluation.plots as plots;"
        "assert 'matplotlib' not in sys.modules;"
        "plots.plot_history({'loss': [1.0]}).savefig('/dev/null', format='png');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
