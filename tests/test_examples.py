"""Every example runs, and draws something."""

import runpy
import sys
import warnings

import pytest

from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs_and_draws(path, monkeypatch):
    import matplotlib.pyplot as plt

    plt.close("all")
    monkeypatch.setattr(sys, "argv", [str(path)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
        runpy.run_path(str(path), run_name="__main__")
    drawn = [plt.figure(number) for number in plt.get_fignums()]
    assert drawn
    assert all(ax.has_data() for figure in drawn for ax in figure.axes)
    plt.close("all")


def test_each_is_short_and_there_are_some():
    assert len(EXAMPLES) >= 8
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 60, path
