"""Figures: what they show, that nothing overlaps, and how they are written."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cnnboost.errors import DataError, StoreError
from cnnboost.report.drawing import save_figure
from cnnboost.report.plots import (
    plot_class_distribution,
    plot_contact_sheet,
    plot_history,
    plot_latency,
    plot_modes,
)
from cnnboost.timing.paths import PATHS, is_head_only
from tests.report.legible import assert_legible, texts

BATCHES = (64, 1, 8)
NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
COUNTS = {
    "train": dict(zip(NAMES, [3995, 436, 4097, 7215, 4830, 3171, 4965], strict=True)),
    "validation": dict(zip(NAMES, [467, 56, 496, 895, 653, 415, 607], strict=True)),
}


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
        "import sys, cnnboost.report.plots as plots;"
        "assert 'matplotlib' not in sys.modules;"
        "plots.plot_history({'loss': [1.0]}).savefig('/dev/null', format='png');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def rows():
    return [
        {
            "path": path,
            "batch": n,
            "p50_ms": (i + 1) * n**0.9,
            "measured": "head only" if is_head_only(path) else "image to probabilities",
        }
        for n in BATCHES
        for i, path in enumerate(PATHS)
    ]


def test_one_line_per_path_in_order_of_batch_size():
    axes = plot_latency(rows()).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {
        "cnn/predict", "cnn/compiled", "cnn/onnx", "hybrid/predict", "hybrid/compiled", "hybrid/onnx",
        "head/dmatrix (head only)", "head/inplace (head only)",
    }  # fmt: skip
    for line in lines.values():
        assert list(line.get_xdata()) == [1, 8, 64]
    i = PATHS.index("hybrid/onnx") + 1
    np.testing.assert_allclose(lines["hybrid/onnx"].get_ydata(), [i * n**0.9 for n in (1, 8, 64)])


def test_head_only_is_dotted_all_else_is_solid_and_no_two_look_alike():
    lines = plot_latency(rows()).axes[0].lines
    assert {line.get_linestyle() for line in lines if "head only" in line.get_label()} == {":"}
    assert {line.get_linestyle() for line in lines if "head only" not in line.get_label()} == {"-"}
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(lines)


def test_axes_and_legend():
    figure = plot_latency(rows(), title="Faces for $5")
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "ms" in axes.get_ylabel()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "8", "64"]
    assert axes.get_title() == r"Faces for \$5"
    assert axes.get_legend().get_texts()[0].get_text() == "head/inplace (head only)"


def test_one_batch_size_and_none():
    assert len(plot_latency([row for row in rows() if row["batch"] == 8]).axes[0].lines) == 8
    with pytest.raises(DataError, match="nothing to draw"):
        plot_latency([])


@pytest.mark.parametrize("sizes", [(1, 8, 64), (1, 8, 64, 512, 539), (1, 8, 64, 512, 28_709), range(1, 40)])
def test_nothing_overlaps(sizes):
    points = [{**row, "batch": n} for row in rows() if row["batch"] == 1 for n in sizes]
    figure = plot_latency(points)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [axes.get_window_extent(), axes.get_legend().get_window_extent()]
    assert not boxes[0].overlaps(boxes[1])
    assert boxes[1].x1 <= figure.bbox.x1
    labels = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert axes.get_xticklabels()[-1].get_text() == f"{max(sizes):,}"
    assert not any(a.overlaps(b) for i, a in enumerate(labels) for b in labels[i + 1 :])


def test_the_figure_of_modes_is_legible(compared):
    figure = plot_modes(compared)
    assert_legible(figure)
    assert any("2 seeds" in text for text in texts(figure))
    with pytest.raises(DataError, match="nothing to draw"):
        plot_modes({**compared, "runs": []})
