"""What a figure says, and that all of it can be read."""

from __future__ import annotations

import warnings

import numpy as np


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
