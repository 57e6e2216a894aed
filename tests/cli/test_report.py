import json
import shutil
from pathlib import Path

import pytest

from cnnboost import stages
from cnnboost.files import read_json, write_json
from tests.command_line import invoke

FACTS = Path(__file__).parents[1] / "report" / "report_facts.json"


@pytest.fixture(scope="module")
def scored(job_in, tmp_path_factory):
    """Return a folder where the toy recipe is inspected and scored; copy it, do not write to it."""
    folder = tmp_path_factory.mktemp("scored")
    job = job_in(folder)
    stages.evaluate(job, ["fc1"])
    stages.inspect(job)
    return folder


@pytest.fixture
def folder(scored, tmp_path, monkeypatch):
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def report(folder, recipe_file):
    """Run the command on the toy recipe."""

    def run(*arguments, status=0, recipe=recipe_file):
        place = ["--recipe", str(recipe)] if recipe else []
        return invoke("report", *arguments, *place, status=status, columns=200)

    return run


def oslo(folder):
    """Put the scores and latencies of another recipe beside the toy's."""
    (folder / "reports/oslo").mkdir()
    for name, metadata in json.loads(FACTS.read_text(encoding="utf-8")).items():
        (folder / f"reports/oslo/{name}.json").write_text(json.dumps(metadata))


def page(folder, name="toy/index.html"):
    return (folder / "reports" / name).read_text(encoding="utf-8")


def figures(folder):
    return sorted(path.name for path in (folder / "reports/toy/figures").iterdir())


def test_the_page_shows_figures_and_mistakes(report, folder):
    document = json.loads(report("--json", "--quiet").stdout)
    assert set(document) == {
        "recipes", "figures", "pictures_of_mistakes", "why_no_pictures", "warnings", "written"
    }  # fmt: skip
    assert document["recipes"] == ["toy"]
    assert document["figures"] == figures(folder)
    assert {"class-distribution.png", "confusion-fc1.png", "contact-sheet.png"} < set(document["figures"])
    assert document["pictures_of_mistakes"] == 12
    assert document["why_no_pictures"] is None
    assert document["written"] == ["reports/toy/index.html"]
    assert page(folder).count("<img src=") == len(figures(folder)) + 12
    metrics = read_json(folder / "reports/toy/metrics.json")
    assert f"{metrics['cnn']['scores']['accuracy']['value']:.1%}" in page(folder)


def test_no_pictures_leaves_every_image_of_the_data_out(report, folder):
    text = report("--no-pictures").stdout
    assert "pictures of mistakes: none, they were not asked for" in text
    assert page(folder).count("<img src=") == len(figures(folder)) - 1
    assert "Examples of each class" not in page(folder)
    assert "No pictures: they were not asked for." in page(folder)


def test_nothing_is_trained_or_measured(report, folder):
    shutil.rmtree(folder / "models")
    text = report().stdout
    assert "the trained CNN is not at hand" in text
    assert page(folder).count("<img src=") == len(figures(folder))
    assert not (folder / "models").exists()


def test_without_images_there_is_a_page_all_the_same(report, folder):
    oslo(folder)
    assert "the images are not at hand (--data PATH names them)" in report(recipe="oslo").stdout
    assert "Latency at fc1" in page(folder, "oslo/index.html")
    assert "head only" in page(folder, "oslo/index.html")


def test_another_cnn_or_other_images_than_those_scored_give_no_pictures(report, folder):
    path = folder / "reports/toy/metrics.json"
    metrics = read_json(path)
    confusion = metrics["cnn"]["scores"]["confusion"]
    confusion[0] = confusion[0][::-1]
    write_json(path, metrics)
    assert "another CNN than the one that was scored" in report().stderr
    assert "another CNN" in page(folder)
    write_json(path, {**metrics, "data_digest": "0"})
    assert "others than those that were scored" in report().stderr
    with (folder / "models/toy/cnn.keras").open("ab") as file:
        file.write(b"x")
    write_json(path, metrics)
    assert "changed on disk since it was trained" in report().stderr


def test_without_scores_the_error_names_the_command(report, folder):
    (folder / "reports/toy/metrics.json").unlink()
    error = report(status=1).stderr
    assert "reports/toy/metrics.json: there are no scores to report yet; run cnnboost evaluate -r" in error
    assert not (folder / "reports/toy/index.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.json", "{", ["metrics.json", "damaged", "evaluate"]),
        ("metrics.json", "[]", ["metrics.json", "damaged"]),
        ("metrics.json", '{"format": 7}', ["format 7", "reads 1"]),
        ("metrics.json", '{"format": 1}', ["reports/toy", "recipe: field required", "evaluate -r toy"]),
        ("audit.json", "nothing", ["audit.json", "damaged", "inspect"]),
        ("audit.json", "{}", ["not what this version writes", "audit.json: no '"]),
        ("latency.json", "{}", ["not what this version writes"]),
        ("repeats.json", '{"repeats": 2}', ["not what this version writes", "runs"]),
    ],
)
def test_damaged_files_are_named(report, folder, name, content, words):
    (folder / "reports/toy" / name).write_text(content)
    error = report("--no-pictures", status=1).stderr
    assert all(word in error for word in words), error


def test_a_recipe_that_was_changed_since_is_named(report):
    assert "changed since" not in report("--no-pictures").stderr
    result = report("--no-pictures", "--set", "boost.max_depth=7")
    assert "recipe 'toy' was changed since it was scored" in result.stderr


def test_notes_must_be_text(report, folder):
    (folder / "reports/toy/notes.txt").write_text("Why it is so.", encoding="utf-8")
    report("--no-pictures")
    assert "<p>Why it is so.</p>" in page(folder)
    (folder / "reports/toy/notes.txt").write_bytes(b"\xff\xfe\xff")
    assert "notes.txt is not UTF-8 text" in report("--no-pictures", status=1).stderr


def test_repeated_runs_are_shown(report, folder, recipe_file):
    from cnnboost.stages.repeats import summarise

    metrics = read_json(folder / "reports/toy/metrics.json")
    (folder / "reports/toy/repeats.json").write_text(json.dumps(summarise([metrics, metrics], [0, 1])))
    report("--no-pictures")
    assert "2 runs of the recipe, with seeds 0, 1" in page(folder)


def test_all_recipes_on_one_page(report, folder):
    oslo(folder)
    shutil.copytree(folder / "reports/toy", folder / "reports/toy-smoke")
    (folder / "reports/oslo/notes.txt").write_text("Other images were scored.")
    report("--no-pictures")
    result = report("--all", recipe=None)
    assert "recipes: oslo, toy" in result.stdout
    assert "cnnboost report -r oslo" in result.stderr
    text = page(folder, "index.html")
    assert 'href="toy/index.html"' in text
    assert 'href="oslo/index.html"' not in text
    assert text.count("XGBoost at fc1") >= 2
    assert "Other images were scored." in text
    (folder / "reports/toy/metrics.json").write_text('{"format": 1}')
    assert "reports/toy/metrics.json: recipe: field required" in report("--all", recipe=None, status=1).stderr


def test_all_wants_scores_and_no_recipe(report, folder):
    shutil.rmtree(folder / "reports")
    assert "no recipe has scores here" in report("--all", recipe=None, status=1).stderr
    assert "leave out --recipe" in report("--all", status=2).stderr


def test_data_that_is_not_there_is_an_error(report):
    assert "nowhere.zip" in report("--data", "nowhere.zip", status=1).stderr
