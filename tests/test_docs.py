"""What the documents say works: the README's commands and Python, its figures, every docstring's example."""

import doctest
import importlib
import json
import pkgutil
import re
import subprocess
from functools import cache

import pytest

import cnnboost
from cnnboost import BoostClassifier, metrics
from cnnboost.config import load_recipe
from cnnboost.stages import Job
from tests import pages, readme
from tests.brief import at_most
from tests.conftest import ROOT

DOCUMENTS = {path: path.read_text() for path in readme.documents()}
TEXT = "\n".join(DOCUMENTS.values())
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(cnnboost.__path__, "cnnboost.") if "__main__" not in m.name
)
PAGES = {str(path.relative_to(ROOT)): path for path in pages.pages()}
#: Pages whose blocks take long; those of photographs are in the README as well.
SLOW = {"docs/photographs.md", "docs/serving.md", "docs/studies.md"}
#: Every block that is not run, by its page and the reason that it states.
NOT_RUN = {
    ("README.md", "it installs all packages"),
    ("docs/getting_started.md", "it installs all packages"),
    ("docs/large.md", "it needs several machines that share a folder"),
    ("CONTRIBUTING.md", "it runs the tests"),
    ("CONTRIBUTING.md", "it releases"),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Return a function that runs the blocks of a page, once."""

    @cache
    def ran(name):
        return pages.run(PAGES[name], tmp_path_factory.mktemp("page"))

    return ran


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name, page in PAGES.items()
        if pages.blocks(page)
    ],
)
def test_the_blocks_of_a_page_run(name, ran):
    ran(name)


def test_the_first_steps_leave_what_they_say(ran):
    found = ran("docs/getting_started.md")
    assert (found.folder / "features/train-fc1.npy").is_file()
    assert (found.folder / "models/digits/heads/fc1-plain.ubj").is_file()
    assert "XGBoost at output" in found.shown
    scores = dict(re.findall(r"^(CNN|CNN \+ XGBoost) ([\d.]+)$", found.shown, re.MULTILINE))
    assert [float(score) > 0.8 for score in scores.values()] == [True, True]


def test_the_hybrids_of_the_guide_are_good(ran):
    assert [float(line) > 0.8 for line in ran("docs/heads.md").shown.splitlines()] == [True, True]


def test_the_face_of_a_photograph_is_seen_to_smile(ran):
    found = ran("docs/shipped.md")
    assert ",happy," in (found.folder / "clip.csv").read_text()
    assert (found.folder / "annotated.mp4").is_file()
    assert re.search(r"^happy \d", found.shown, re.MULTILINE)


def test_the_server_and_the_folder_answer_for_each_picture(ran):
    shown = ran("docs/server.md").shown
    answer, _ = json.JSONDecoder().raw_decode(shown)
    assert len(answer["rows"]) == 2
    assert len([line for line in shown.splitlines() if ".jpg" in line or ".png" in line]) >= 3


def test_what_contributors_are_shown_works(ran, tmp_path):
    names = ran("CONTRIBUTING.md").names
    assert names["mine"]((8, 8, 1), 10).output_shape == (None, 10)
    job = Job(recipe=load_recipe("digits"), models=tmp_path)
    mean = names["Brightness"](job).run()
    assert 0 < mean < 255
    assert names["Brightness"](job).is_current()
    assert names["Brightness"](job).run() == mean


@pytest.mark.parametrize("name", PAGES)
def test_no_block_goes_unnoticed(name):
    assert pages.strays(PAGES[name]) == 0
    for block in pages.blocks(PAGES[name]):
        assert block.language in (*pages.RUN, *pages.SHOWN), f"{block}: is that run?"


def test_what_is_not_run_is_known_and_its_commands_exist():
    marked = [block for page in PAGES.values() for block in pages.blocks(page) if block.why]
    assert {(str(block.page.relative_to(ROOT)), block.why) for block in marked} == NOT_RUN
    for block in marked:
        pages.check(block)


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_within_sentences_exist(name):
    text = PAGES[name].read_text()
    for words in pages.spans(text):
        pages.parse(words, placeholders=True)
    assert pages.unknown_targets(text) == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_figures_are_those_of_the_reports(path):
    assert readme.fill(path) == DOCUMENTS[path], "run `make readme`"


def test_every_figure_has_its_place():
    for name in readme.blocks():
        assert TEXT.count(f"<!-- {name} -->") >= 1, name
        assert TEXT.count(f"<!-- {name} -->") == TEXT.count(f"<!-- /{name} -->"), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_files_that_a_document_names_are_there(path):
    for name in re.findall(r"`((?:reports|pipelines|tests)/[\w./-]+\.\w+)", DOCUMENTS[path]):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"\]\((?!https?:|#|gallery/|reference/)([^)#]+)", DOCUMENTS[path]):
        assert (path.parent / name).exists(), name


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs" / "reference" / "api.rst").read_text()
    named = re.findall(r"^   (\w+)$", text, re.MULTILINE)
    assert sorted(named) == sorted({*cnnboost.__all__, *metrics.__all__} - {"__version__"})


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module in (cnnboost, metrics) for name in module.__all__ if name != "__version__"],
)
def test_every_public_name_has_an_example_that_runs(module, name):
    found = doctest.DocTestParser().get_examples(getattr(module, name).__doc__)
    assert found
    assert not any(doctest.SKIP in example.options for example in found)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    with at_most(BoostClassifier, "n_estimators", 10):
        result = doctest.testmod(
            importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        )
    assert result.failed == 0


def test_the_targets_of_the_makefile_are_listed():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "lint", "wheel", "bench-line", "bench-peers"):
        assert re.search(rf"^{target} ", shown, re.MULTILINE)
