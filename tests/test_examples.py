"""Every example runs, and draws something; so does the notebook."""

import runpy
import sys
import warnings

import nbclient
import nbformat
import pytest

from cnnboost import BoostClassifier, CNNClassifier
from tests.brief import at_most
from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
#: They start a cluster, trace a large network, and search as `features/test_extractor.py` does.
SLOW = ("plot_cluster", "plot_keras_applications", "plot_grid_search")


@pytest.fixture(autouse=True)
def _few_epochs_and_rounds():
    with at_most(CNNClassifier, "epochs", 2), at_most(BoostClassifier, "n_estimators", 5):
        yield


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW)) for path in EXAMPLES],
    ids=lambda path: path.stem,
)
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


@pytest.mark.slow
def test_the_notebook_runs_and_draws(tmp_path):
    notebook = nbformat.read(ROOT / "examples" / "tour.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells)  # committed without
    cells[0].source = cells[0].source.replace("6", "2")
    done = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    shown = [output for cell in done.execute().cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", ()) for output in shown)
    assert "answers are the same" in shown[-1].text


def test_each_is_short_and_there_are_some():
    assert len(EXAMPLES) >= 9
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 60, path
