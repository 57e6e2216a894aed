import csv
import io
import json
import re
import shutil

import pytest
from rich.console import Console

from cnnboost.cli.bench import show_latency
from cnnboost.files import read_json
from cnnboost.timing.paths import PATHS, is_head_only
from tests.command_line import invoke


# A process for each path; `tests/timing` tries all of them in this one.
@pytest.fixture(scope="module", params=[pytest.param("bench", marks=pytest.mark.slow)])
def folder(recipe_file, trained_models, tmp_path_factory):
    """Return a folder where the toy recipe was benched from the command line."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(trained_models, folder / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke("export", "-r", recipe_file, "--int8")
        shutil.copy("models/toy/manifest.json", "exported.json")
        few = ("--batch", "8", "--batch", "1", "--repeats", "1", "--threads", "1")
        done = invoke("bench", "-r", recipe_file, *few, "--set", "bench.seconds=0.01", "--json")
    (folder / "stdout.json").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def document(folder):
    return json.loads((folder / "stdout.json").read_text())


def test_the_document_is_what_was_written(document, folder):
    assert document.pop("written") == [
        "reports/toy/latency.json",
        "reports/toy/latency.csv",
        "reports/toy/figures/latency.png",
    ]
    assert read_json(folder / "reports/toy/latency.json") == document
    assert set(document) == {
        "format", "recipe", "title", "layer", "mode", "rounds", "tta", "split", "images", "shape", "repeats",
        "seconds", "threads", "goals", "goals_stated_for", "rows", "starts", "operations", "product",
        "machine", "cores_busy_for_others", "versions",
    }  # fmt: skip
    assert (document["layer"], document["split"], document["rounds"]) == ("fc1", "validation", 4)
    document["written"] = ["reports/toy/latency.json"]


def test_the_bundle_keeps_what_is_not_timed(folder):
    assert (folder / "models/toy/int8.onnx").is_file()
    assert (folder / "models/toy/manifest.json").read_bytes() == (folder / "exported.json").read_bytes()


def test_every_path_at_every_batch_size(document):
    rows = document["rows"]
    assert [(row["batch"], row["path"]) for row in rows] == [(n, path) for n in (1, 8) for path in PATHS]
    for row in rows:
        assert row["calls"] >= 1
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["images_per_s"] == pytest.approx(row["batch"] / row["p50_ms"] * 1e3)
        assert not row["all_images"]


def test_accuracy_and_agreement_stand_beside_every_time(document, recipe_file, folder):
    rows = {row["path"]: row for row in document["rows"] if row["batch"] == 1}
    assert all(0.1 < row["accuracy"] <= 1 for row in rows.values())
    assert {path: row["agreement_with"] for path, row in rows.items() if "cnn" in path} == dict.fromkeys(
        ["cnn/predict", "cnn/compiled", "cnn/onnx"], "cnn/predict"
    )
    assert {row["agreement_with"] for path, row in rows.items() if "cnn" not in path} == {"hybrid/predict"}
    for row in rows.values():
        assert row["agreement"] >= 0.995
        reference = rows[row["agreement_with"]]
        assert abs(row["accuracy"] - reference["accuracy"]) <= 1 - row["agreement"]
    assert rows["cnn/predict"]["agreement"] == rows["hybrid/predict"]["agreement"] == 1


def test_the_accuracy_is_that_of_evaluate(document, recipe_file, folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = invoke("evaluate", "-r", recipe_file, "-l", "fc1", "--json", "-q")
    scores = json.loads(done.stdout)
    rows = {row["path"]: row for row in document["rows"]}
    assert rows["cnn/predict"]["accuracy"] == pytest.approx(scores["cnn"]["scores"]["accuracy"]["value"])
    head = scores["heads"][0]["scores"]["accuracy"]["value"]
    assert rows["head/inplace"]["accuracy"] == pytest.approx(head)


def test_times_are_compared_with_their_like(document):
    for row in document["rows"]:
        family = row["path"].split("/")[0]
        assert row["ratio_to"] == ("head/dmatrix" if family == "head" else f"{family}/predict")
        if row["path"] == row["ratio_to"]:
            assert row["ratio"] == 1


def test_arithmetic_and_its_limit(document):
    cnn, trunk = (document["operations"][name]["mflop_per_image"] for name in ("cnn", "hybrid"))
    assert 0 < trunk < cnn
    limit = document["product"]["limit_gflop_per_s"]
    rates = document["product"]["gflop_per_s"]
    assert set(rates) == {"numpy", "onnxruntime", "tensorflow"}
    assert limit == max(rates.values())
    for row in document["rows"]:
        flop = {"cnn": cnn, "hybrid": trunk}.get(row["path"].split("/")[0])
        assert row["mflop_per_image"] == flop
        if flop is None:
            assert row["gflop_per_s"] is row["share_of_product_rate"] is None
        else:
            assert row["gflop_per_s"] == pytest.approx(flop * row["batch"] / row["p50_ms"])
            assert row["share_of_product_rate"] == pytest.approx(row["gflop_per_s"] / limit)


def test_starts_threads_and_goals(document):
    assert [(row["what"], row["until"]) for row in document["starts"]] == [
        ("hybrid/predict", "first prediction"),
        ("hybrid/onnx", "first prediction"),
        ("cnnboost predict", "exit"),
        ("import tensorflow", "exit"),
    ]
    assert all(row["runs"] == 1 and row["p50_s"] > 0 for row in document["starts"])
    assert document["threads"] == {
        "asked": 1, "used": {"tensorflow": 1, "onnxruntime": 1, "xgboost": 1}
    }  # fmt: skip
    assert all(set(row) == {"what", "value", "goal", "met"} for row in document["goals"])
    assert [row["what"].split(":")[0] for row in document["goals"]] == [
        "batch 1", "batch 1", "batch 1", "batch 8", "fresh process"
    ]  # fmt: skip


def test_the_table_on_disk(document, folder):
    text = (folder / "reports/toy/latency.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == list(document["rows"][0])
    assert len(rows) == len(document["rows"])
    for found, row in zip(rows, document["rows"], strict=True):
        assert float(found["p99_ms"]) == pytest.approx(row["p99_ms"], rel=1e-4)
        assert (found["measured"] == "head only") == is_head_only(row["path"])
        assert (found["gflop_per_s"] == "") == is_head_only(row["path"])


def test_the_figure_is_there(folder):
    assert (folder / "reports/toy/figures/latency.png").read_bytes().startswith(b"\x89PNG")


def test_notes_go_to_stderr(folder):
    assert "batches of 8" in (folder / "stderr.txt").read_text()


def test_what_people_see(document):
    text = io.StringIO()
    show_latency(Console(file=text, width=80, highlight=False, soft_wrap=True), document)
    shown = text.getvalue().splitlines()
    assert max(map(len, shown)) <= 80
    place = [i for i, line in enumerate(shown) if line.startswith("batch ")]
    assert [shown[i].split()[:2] for i in place[:2]] == [["batch", "1"], ["batch", "8"]]
    for path in PATHS:
        lines = [line for line in shown if re.match(rf"{path} ", line)]
        assert len([line for line in lines if "%" in line]) == 2
        if is_head_only(path):
            assert all("head only" in line for line in lines)
    assert any(re.search(r"hybrid/onnx .*\dx .*%", line) for line in shown)
    assert any("import tensorflow" in line and "exit" in line for line in shown)
    assert any("at most 1/6" in line for line in shown)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--batch", "0"], 2, ["'0'", "from 1", "'all'"]),
        (["--batch", "-1"], 2, ["'-1'", "from 1"]),
        (["--batch", "x"], 2, ["'x'", "from 1"]),
        (["--batch", "1.5"], 2, ["'1.5'"]),
        (["--repeats", "0"], 2, ["--repeats"]),
        (["--threads", "0"], 2, ["--threads"]),
        (["--set", "bench.batches=[0]"], 2, ["[bench] batches", "from 1"]),
        (["--set", "bench.batch=[1]"], 2, ["did you mean 'batches'"]),
        (["--batch", "1", "--batch", "540"], 1, ["540", "539", "'validation'", "--batch all"]),
        (["--split", "test"], 1, ["'test'", "train, validation"]),
    ],
)
def test_mistakes_are_named_before_anything_slow(arguments, status, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("bench", *arguments, status=status, columns=200)
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / "reports").exists()
