import json
import re
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from cnnboost import Predictor, stages
from cnnboost.errors import DataError, StoreError
from cnnboost.files import read_json
from cnnboost.stages.reporting import report
from tests.command_line import invoke


def save_images(root, X, names):
    for i, (image, name) in enumerate(zip(X, names, strict=True)):
        (root / str(name)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(root / str(name) / f"{i:04}.png")
    return root


@pytest.fixture(scope="module")
def bundles(job_in, tmp_path_factory):
    """Return folders with a plain bundle, and one in residual mode over two views; copy them."""
    folder = tmp_path_factory.mktemp("bundles")
    job = job_in(folder)
    stages.export(job, "fc1", out=folder / "plain")
    stages.export(job, ["flatten"], mode="residual", tta="flip", out=folder / "residual")
    return folder


@pytest.fixture
def photos(toy_images, tmp_path):
    X, y = toy_images
    return save_images(tmp_path / "photos", X[:90], y[:90])


@pytest.fixture
def scored(job, bundles, photos):
    def scored(name, data=photos, **options):
        return stages.evaluate_bundle(replace(job, data=data), bundles / name, **options)

    return scored


@pytest.mark.parametrize(
    ("name", "layer", "tta"), [("plain", "fc1", "none"), ("residual", "flatten", "flip")]
)
def test_the_scores_are_those_of_its_graphs(scored, bundles, toy_images, job, name, layer, tta):
    found = scored(name).document
    X, y = toy_images[0][:90], toy_images[1][:90].astype(str)
    (head,) = found["heads"]
    assert (head["layer"], head["mode"], found["tta"]) == (layer, name, tta)
    for graph, row in (("hybrid", head), ("cnn", found["cnn"])):
        said = Predictor.load(bundles / name, graph=graph).predict(X)
        assert row["scores"]["accuracy"]["value"] == pytest.approx(np.mean(said == y))
        assert [c["support"] for c in row["scores"]["per_class"]] == list(np.bincount(y.astype(int)))
    assert head["against_cnn"]["only_a_right"] >= 0
    assert found["images"] == {"all": 90}
    json.dumps(found, allow_nan=False)


def test_scores_and_figures_go_to_other_in_the_reports(scored, job, photos):
    found = scored("residual")
    assert found.path == job.reports / "toy/other/photos-bundle/metrics.json"
    assert read_json(found.path) == found.document
    drawn = {path.name for path in found.figures}
    assert {"confusion-cnn.png", "confusion-flatten-residual.png", "class-accuracy.png"} <= drawn
    stages.evaluate(job, ["fc1"])
    assert "photos" in report(job).path.read_text()


def test_the_form_is_that_of_an_evaluation(scored, job):
    own, other = stages.evaluate(job, ["fc1"]).document, scored("plain").document
    assert set(own) - set(other) == set()
    assert set(other) - set(own) == {"source_name", "counted_as", "bundle"}
    assert set(other["heads"][0]) == set(own["heads"][0])
    assert set(other["cnn"]) == set(own["cnn"])


def test_classes_go_by_name(scored, bundles, toy_images, tmp_path, caplog):
    X, y = toy_images
    some = np.isin(y, [3, 7])
    folder = save_images(tmp_path / "some", X[some][:20], y[some][:20])
    with caplog.at_level("INFO", "cnnboost"):
        found = scored("plain", folder).document
    assert found["classes"] == [str(i) for i in range(10)]
    said = Predictor.load(bundles / "plain").predict(X[some][:20])
    right = np.mean(said == y[some][:20].astype(str))
    assert found["heads"][0]["scores"]["accuracy"]["value"] == pytest.approx(right)
    assert "no image is of 0, 1, 2, 4, 5, 6, 8, 9" in caplog.text
    (folder / "7").rename(folder / "seven")
    with pytest.raises(DataError, match=r"does not know class 'seven'.*It knows: 0, 1, 2"):
        scored("plain", folder)


def test_a_split_can_be_named(scored, toy_images, photos, tmp_path, caplog):
    X, y = toy_images
    shutil.copytree(photos, tmp_path / "both/train")
    save_images(tmp_path / "both/test", X[100:130], y[100:130])
    assert scored("plain", tmp_path / "both", split="test").document["images"] == {"test": 30}
    assert "split train" not in caplog.text
    assert scored("plain", tmp_path / "both").document["images"] == {"all": 120}
    assert "the images of the split train are scored too" in caplog.text
    with pytest.raises(DataError, match="no split 'validation'"):
        scored("plain", tmp_path / "both", split="validation")


def test_a_damaged_bundle_and_missing_images_are_named(job, bundles, photos, tmp_path, monkeypatch):
    monkeypatch.delenv("CNNBOOST_DATA", raising=False)
    shutil.copytree(bundles / "plain", tmp_path / "bad")
    (tmp_path / "bad/hybrid.onnx").write_bytes(b"")
    with pytest.raises(StoreError, match=r"hybrid\.onnx is not the file that manifest\.json lists"):
        stages.evaluate_bundle(replace(job, data=photos), tmp_path / "bad")
    with pytest.raises(DataError, match="--data PATH"):
        stages.evaluate_bundle(job, bundles / "plain")


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch, bundles, photos, job):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(bundles / "residual", tmp_path / "bundle")
        return partial(invoke, "evaluate", columns=200)

    def test_table_and_json(self, run):
        text = run("--model", "bundle", "--data", "photos").stdout
        assert "scores on photos, 90 images; nothing was trained on them" in text
        assert "CNN softmax" in text
        assert re.search("XGBoost at flatten,.*residual", text, re.DOTALL)
        found = json.loads(run("--model", "bundle", "--data", "photos", "--json", "-q").stdout)
        assert found["bundle"]["folder"] == "bundle"
        assert found["written"][0] == "reports/toy/other/photos-bundle/metrics.json"

    @pytest.mark.parametrize(
        ("arguments", "status", "words"),
        [
            (["--model", "bundle", "-l", "fc1"], 2, ["--layer", "a bundle, which is scored as exported"]),
            (["--model", "bundle", "--mode", "blend"], 2, ["--mode", "is a bundle"]),
            (["--model", "models"], 2, ["--model models is a folder", "--models names the folder"]),
            (["--models", "bundle"], 2, ["--models bundle is a bundle", "did you mean --model bundle?"]),
            (["--models", "models/toy/cnn.keras"], 2, ["is a file", "--model models/toy/cnn.keras"]),
        ],
    )  # fmt: skip
    def test_mixed_up_options_are_named(self, run, arguments, status, words):
        result = run("--data", "photos", *arguments, status=status)
        for word in words:
            assert word in " ".join(result.stderr.replace("│", " ").split())
