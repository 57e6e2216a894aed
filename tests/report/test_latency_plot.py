import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.report.latency_plot import plot_latency
from cnnboost.timing.paths import PATHS, is_head_only

BATCHES = (64, 1, 8)


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
