"""Figures: what they show, that nothing overlaps, and how they are written."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cnnboost.errors import StoreError
from cnnboost.report.plots import (
    plot_class_distribution,
    plot_contact_sheet,
    plot_history,
    plot_latency,
    save_figure,
)
from cnnboost.timing.paths import PATHS, is_head_only
from tests.report.legible import assert_legible, texts

COUNTS = {"train": {"angry": 3995, "disgust": 436, "happy": 7215}, "validation": {"angry": 467, "happy": 895}}


def test_class_distribution_shows_every_count_and_a_class_that_a_split_lacks():
    figure = plot_class_distribution(COUNTS)
    shown = texts(figure)
    assert {"angry", "disgust", "happy", "3,995", "436", "7,215", "467", "895"} <= set(shown)
    assert {"train (11,646)", "validation (1,362)", "Images per class", "images"} <= set(shown)
    assert shown.count("0") == 2  # on the bar, and on the axis
    assert_legible(figure)


@pytest.mark.parametrize(("classes", "splits"), [(1, 1), (2, 3), (100, 3)])
def test_class_distribution_stays_legible(classes, splits):
    counts = {f"split {s}": {f"class {c}": 1000 * s + c for c in range(classes)} for s in range(splits)}
    assert_legible(plot_class_distribution(counts))


def test_names_are_not_formulas():
    figure = plot_class_distribution({"train": {r"$\frac{$": 1}})
    figure.draw_without_rendering()  # would fail as a formula


@pytest.mark.parametrize("channels", [1, 3])
def test_contact_sheet_shows_the_images_themselves(channels):
    images = np.random.default_rng(0).integers(0, 255, (9, 6, 5, channels), dtype=np.uint8)
    long = "a rather long class name"
    figure = plot_contact_sheet(images, ["happy"] * 4 + [long] * 5)
    [axes] = figure.axes
    sheet = np.asarray(axes.images[0].get_array())
    assert sheet.shape == (2 * 6 + 1, 5 * 5 + 4, 3)
    colour = np.broadcast_to(images, (9, 6, 5, 3))
    np.testing.assert_array_equal(sheet[:6, :5], colour[0])
    np.testing.assert_array_equal(sheet[7:, 24:], colour[8])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy", long]
    assert "Examples of each class, 5x6 pixels" in texts(figure)
    assert_legible(figure)


@pytest.mark.parametrize("epochs", [1, 3, 50])
def test_history_shows_train_and_validation_over_epochs_from_one(epochs):
    names = ("accuracy", "loss", "val_accuracy", "val_loss", "learning_rate")
    history = {name: np.linspace(i + 0.1, i + 0.9, epochs).tolist() for i, name in enumerate(names)}
    figure = plot_history(history)
    assert [axes.get_title() for axes in figure.axes] == ["Accuracy", "Loss"]
    for axes, name in zip(figure.axes, names[:2], strict=True):
        train, validation = axes.lines
        assert list(train.get_xdata()) == list(range(1, epochs + 1))
        assert list(train.get_ydata()) == history[name]
        assert list(validation.get_ydata()) == history[f"val_{name}"]
        assert train.get_linestyle() != validation.get_linestyle()  # told apart in a grey print
        assert (train.get_marker() == "o") == (epochs <= 20)
    assert_legible(figure)


def test_validation_lies_at_the_epochs_that_were_scored():
    history = {"loss": [3.0, 2.0, 1.5, 1.0, 0.9], "val_loss": [2.5, 1.8], "val_epoch": [2.0, 4.0]}
    train, validation = plot_history(history).axes[0].lines
    assert list(train.get_xdata()) == [1, 2, 3, 4, 5]
    assert list(validation.get_xdata()) == [2, 4]


def test_history_without_validation_or_accuracy():
    (axes,) = plot_history({"loss": [2.0, 1.0], "accuracy": []}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train"]


def test_saved_twice_is_the_same_file_and_nothing_else_is_left(tmp_path):
    path = save_figure(plot_class_distribution(COUNTS), tmp_path / "figures" / "classes.png")
    first = path.read_bytes()
    save_figure(plot_class_distribution(COUNTS), path)
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["classes.png"]
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 250
        assert "Software" not in image.info
    with pytest.raises(StoreError, match=r"x\.png cannot be written"):
        save_figure(plot_history({"loss": [1.0]}), path / "x.png")


def test_a_character_that_the_font_lacks_is_warned_of(tmp_path, caplog):
    save_figure(plot_class_distribution({"train": {"\N{CJK UNIFIED IDEOGRAPH-4E00}": 1}}), tmp_path / "x.png")
    assert "x.png shows boxes in place of some characters" in caplog.text


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


def latencies(*batches):
    return [
        {
            "path": path,
            "batch": n,
            "p50_ms": (i + 1) * n**0.9,
            "measured": "head only" if is_head_only(path) else "image to probabilities",
        }
        for n in batches
        for i, path in enumerate(PATHS)
    ]


def test_latency_has_one_line_per_path_in_order_of_batch_size():
    axes = plot_latency(latencies(64, 1, 8), title="Faces for $5").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {
        "cnn/predict", "cnn/compiled", "cnn/onnx", "hybrid/predict", "hybrid/compiled", "hybrid/onnx",
        "head/dmatrix (head only)", "head/inplace (head only)",
    }  # fmt: skip
    i = PATHS.index("hybrid/onnx") + 1
    assert list(lines["hybrid/onnx"].get_xdata()) == [1, 8, 64]
    assert list(lines["hybrid/onnx"].get_ydata()) == pytest.approx([i * n**0.9 for n in (1, 8, 64)])
    assert {label for label in lines if lines[label].get_linestyle() == ":"} == set(list(lines)[:2])
    assert len({(line.get_color(), line.get_marker()) for line in lines.values()}) == len(lines)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "8", "64"]
    assert axes.get_title() == r"Faces for \$5"
    assert axes.get_legend().get_texts()[0].get_text() == "head/inplace (head only)"  # the slowest


@pytest.mark.parametrize("sizes", [(1, 8, 64, 512, 539), (1, 8, 64, 512, 28_709), range(1, 40)])
def test_sizes_do_not_overlap(sizes):
    figure = plot_latency(latencies(*sizes), title="")
    assert_legible(figure)
    axes = figure.axes[0]
    assert not axes.get_window_extent().overlaps(axes.get_legend().get_window_extent())
    assert axes.get_xticklabels()[-1].get_text() == f"{max(sizes):,}"
