"""`cnnboost predict`: rows on stdout and nothing else, bad images named, files whole or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnboost import Predictor
from cnnboost.config import BUNDLE_TABLES
from cnnboost.deploy import bundle as shipped
from cnnboost.deploy.bundle import read_bundle, write_bundle
from tests.command_line import invoke
from tests.deploy.small_graph import CLASSES, MANIFEST, expected, small_file
from tests.faces.clips import astronaut, background


def image(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a bundle `toy`, and two images and a bad one in `faces`."""
    monkeypatch.chdir(tmp_path)
    write_bundle(
        tmp_path / "toy",
        MANIFEST,
        {"hybrid.onnx": small_file(), "cnn.onnx": small_file(seed=1, kind="cnn")},
    )
    (tmp_path / "faces").mkdir()
    for i in range(2):
        Image.fromarray(image(i)).save(tmp_path / "faces" / f"{i}.png")
    (tmp_path / "faces/bad.png").write_bytes(b"")
    return tmp_path


def run(*arguments, status=0, model="toy", **options):
    place = ["--model", model] if model else []
    return invoke("predict", *arguments, *place, status=status, **options)


def probabilities(i, seed=0):
    return expected(image(i)[None, ..., None], seed=seed)[0]


def program(*arguments):
    return [sys.executable, "-m", "cnnboost", "predict", *arguments]


class TestOutputs:
    def test_table(self, folder):
        result = run("faces/0.png", "faces/1.png")
        head, *rows = result.stdout.splitlines()
        assert head.split() == ["label", "probability", "image"]
        for i, row in enumerate(rows):
            best = probabilities(i).argmax()
            assert row.split() == [CLASSES[best], f"{probabilities(i)[best]:.3f}", f"faces/{i}.png"]
        assert "2 images" in result.stderr

    def test_on_a_cluster_rows_are_the_same_in_the_same_order(self, folder, processes, client):
        shutil.make_archive("more", "zip", "faces")
        paths = ["faces", "more.zip", "missing.png", "faces/1.png"]
        assert run(*paths, "--csv", "here.csv", status=1).stderr.endswith("see their rows\n")
        there = run(*paths, "--csv", "there.csv", "--dask", processes.address, status=1)
        assert "3 of 8 images" in there.stderr
        assert (folder / "there.csv").read_bytes() == (folder / "here.csv").read_bytes()
        run("faces", "--dask", "nowhere", status=2)

    def test_csv(self, folder):
        result = run("faces", "--csv", "out/rows.csv", status=1)
        assert result.stdout.split() == ["wrote", "out/rows.csv"]
        assert "1 of 3 images" in result.stderr
        rows = list(csv.DictReader((folder / "out/rows.csv").open(newline="")))
        assert list(rows[0]) == ["path", "label", *CLASSES, "error"]
        assert [row["path"] for row in rows] == ["faces/0.png", "faces/1.png", "faces/bad.png"]
        for i in range(2):
            found = [float(rows[i][name]) for name in CLASSES]
            np.testing.assert_allclose(found, probabilities(i), atol=1e-5)
            assert (rows[i]["label"], rows[i]["error"]) == (CLASSES[probabilities(i).argmax()], "")
        assert rows[2] == {
            "path": "faces/bad.png", "label": "", **dict.fromkeys(CLASSES, ""), "error": "is empty (0 bytes)"
        }  # fmt: skip
        assert [path.name for path in (folder / "out").iterdir()] == ["rows.csv"]

    def test_csv_on_stdout(self, folder):
        run("faces", "--csv", "rows.csv", status=1)
        assert run("faces", "--csv", "-", status=1).stdout == (folder / "rows.csv").read_text()

    def test_json(self, folder):
        result = run("faces", "--json", status=1)
        found = json.loads(result.stdout)
        assert list(found) == ["model", "classes", "rows", "failed", "written"]
        assert found["model"] == {
            "path": "toy/hybrid.onnx", "kind": "hybrid", "recipe": "toy", "layer": "fc1", "mode": "plain",
            "int8": False,
        }  # fmt: skip
        assert found["classes"] == CLASSES
        assert (found["failed"], found["written"]) == (1, [])
        for i, row in enumerate(found["rows"][:2]):
            assert list(row) == ["path", "label", "probabilities"]
            assert list(row["probabilities"]) == CLASSES
            np.testing.assert_allclose(list(row["probabilities"].values()), probabilities(i), atol=1e-5)
        assert found["rows"][2] == {"path": "faces/bad.png", "error": "is empty (0 bytes)"}

    def test_labels_that_are_numbers_are_shown_as_text(self, folder):
        labels = [7, 8, 9]
        (folder / "numbers.onnx").write_bytes(small_file(classes=labels))
        names, best = ["7", "8", "9"], str(labels[probabilities(0).argmax()])
        assert run("faces/0.png", model="numbers.onnx").stdout.splitlines()[1].split()[0] == best
        (row,) = csv.DictReader(io.StringIO(run("faces/0.png", "--csv", "-", model="numbers.onnx").stdout))
        assert (row["label"], float(row[best])) == (best, pytest.approx(probabilities(0).max(), abs=1e-5))
        found = json.loads(run("faces/0.png", "--json", model="numbers.onnx").stdout)
        assert (found["classes"], found["rows"][0]["label"]) == (names, best)
        assert list(found["rows"][0]["probabilities"]) == names

    def test_json_and_csv(self, folder):
        found = json.loads(run("faces/0.png", "--json", "--csv", "rows.csv", "-q").stdout)
        assert found["written"] == ["rows.csv"]
        assert len((folder / "rows.csv").read_text().splitlines()) == 2

    def test_numbers_are_whole_float32(self, folder):
        found = json.loads(run("faces/0.png", "--json").stdout)["rows"][0]["probabilities"]
        (row,) = csv.DictReader(io.StringIO(run("faces/0.png", "--csv", "-").stdout))
        for name in CLASSES:
            assert float(row[name]) == found[name]
            assert float(np.float32(row[name])) == pytest.approx(float(row[name]), rel=1e-7)
            assert len(row[name]) <= 14

    def test_quiet(self, folder):
        assert run("faces/0.png", "-q").stderr == ""
        assert "1 of 3" in run("faces", "-q", status=1).stderr

    def test_names_cannot_steer_the_terminal(self, folder):
        shutil.copy("faces/0.png", "faces/\x1b[31mred\n.png")
        text = run("faces/\x1b[31mred\n.png").stdout
        assert "\x1b" not in text
        assert text.count("\n") == 2
        assert "\\x1b[31mred\\n.png" in text

    def test_a_device_is_written_to_not_replaced(self, folder):
        os.mkfifo("pipe")
        reader = subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True)
        run("faces/0.png", "--csv", "pipe")
        assert reader.communicate(timeout=60)[0].startswith("path,label")


class TestInputs:
    def test_the_cnn_alone(self, folder):
        for arguments, model in ((["--graph", "cnn"], "toy"), ([], "toy/cnn.onnx")):
            row = json.loads(run("faces/0.png", "--json", *arguments, model=model).stdout)["rows"][0]
            found = list(row["probabilities"].values())
            np.testing.assert_allclose(found, probabilities(0, seed=1), atol=1e-5)

    def test_the_graph_in_integers_says_that_it_answered(self, folder):
        content = small_file(seed=3, int8=True)
        members = {"hybrid.onnx": small_file(), "int8.onnx": content}
        write_bundle(folder / "both", MANIFEST, members)
        for graph, is_int8 in (("int8", True), ("hybrid", False)):
            found = json.loads(run("faces/0.png", "--json", "--graph", graph, model="both").stdout)
            assert found["model"]["int8"] is is_int8

    @pytest.mark.parametrize(
        "option",
        [
            ["--recipe", "oslo"],
            ["--set", "cnn.epochs=1"],
            ["--data", "digits"],
            ["--models", "models"],
            ["--reports", "r"],
        ],
    )
    def test_options_of_a_recipe_go_with_no_model(self, folder, option):
        error = run("faces/0.png", *option, status=2).stderr
        assert option[0] in error
        assert "--model, which names the bundle already" in error

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
    def test_an_image_on_stdin(self, folder, kind):
        path = folder / f"one.{kind.lower()}"
        Image.open("faces/1.png").save(path, kind)
        named = json.loads(run(str(path), "--json").stdout)["rows"][0]
        piped = json.loads(run("-", "--json", input=path.read_bytes()).stdout)["rows"]
        assert piped == [{**named, "path": "-"}]

    def test_what_is_not_an_image_on_stdin_is_named(self, folder):
        whole = (folder / "faces/1.png").read_bytes()
        for content, words in ((whole[:50], "truncated"), (b"\0\0\0\x18ftypheic" + bytes(90), "HEIC")):
            (row,) = json.loads(run("-", "--json", input=content, status=1).stdout)["rows"]
            assert row["path"] == "-"
            assert words in row["error"]

    def test_paths_that_begin_as_images_do(self, folder):
        for name in ("P5", "BM.png", "MMM", "RIFF.png"):
            shutil.copy("faces/1.png", name)
        text = run("-", "--csv", "-", input="P5\n1.png\nBM.png\nMMM\nRIFF.png\n", status=1).stdout
        errors = {row["path"]: row["error"] for row in csv.DictReader(io.StringIO(text))}
        assert [name for name, error in errors.items() if not error] == ["P5", "BM.png", "MMM", "RIFF.png"]
        assert errors["1.png"] == "does not exist"

    def test_a_list_on_stdin(self, folder):
        text = run("-", "--csv", "-", input="faces/1.png\n\nnone.png\n", status=1).stdout
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [(row["path"], row["error"]) for row in rows] == [
            ("faces/1.png", ""),
            ("none.png", "does not exist"),
        ]

    def test_an_archive(self, folder):
        shutil.make_archive("faces", "zip", "faces")
        rows = json.loads(run("faces.zip", "--json", "--threads", "1", status=1).stdout)["rows"]
        assert [row["path"] for row in rows] == [f"faces.zip/{name}.png" for name in ("0", "1", "bad")]

    @pytest.mark.parametrize(
        ("arguments", "status", "words"),
        [
            ([], 2, ["PATH"]),
            (["empty"], 1, ["no image in empty"]),
            (["-"], 1, ["no image in -"]),
            (["faces/0.png", "--json", "--csv", "-"], 2, ["--json", "stdout"]),
            (["--csv", "faces/0.png", "faces/1.png"], 2, ["--csv faces/0.png", "name of an image"]),
            (["--csv", "old.zip", "faces/1.png"], 2, ["--csv old.zip", "an archive"]),
            (["faces/1.png", "unnamed", "--csv", "./unnamed"], 2, ["unnamed is among the files to predict"]),
            (["faces/0.png", "--threads", "0"], 2, ["--threads"]),
            (["faces/0.png", "--graph", "trunk"], 2, ["trunk", "hybrid"]),
            (["faces/0.png", "--pixels", "raw"], 2, ["--pixels", "a bundle states"]),
            (["faces/0.png", "--classes", "a,b,c"], 2, ["--classes", "a bundle states"]),
            (
                ["faces/0.png", "--graph", "hybrid", "--model", "toy/cnn.onnx"],
                2,
                ["toy/cnn.onnx", "cnn graph"],
            ),
            (["faces/0.png", "--model", "faces"], 1, ["manifest.json is missing"]),
            (["faces/0.png", "--model", "faces/0.png"], 1, ["faces/0.png", "was not made by"]),
            (["faces/0.png", "--model", "nowhere"], 1, ["nowhere", "no such file or folder"]),
            (["faces/0.png", "--csv", "faces/0.png/rows.csv"], 1, ["rows.csv", "cannot be written"]),
            (["faces/0.png", "--csv", "empty"], 1, ["empty"]),
            (["faces/0.png", "--recipe", "olso"], 2, ["Did you mean 'oslo'"]),
        ],
    )
    def test_mistakes_are_named(self, folder, arguments, status, words):
        (folder / "empty").mkdir()
        shutil.copy(folder / "faces/0.png", folder / "unnamed")
        model = None if {"--model", "--recipe"} & set(arguments) else "toy"
        result = run(*arguments, status=status, model=model, env={"COLUMNS": "200"})
        assert all(word in result.stderr for word in words), result.stderr
        assert result.stdout == ""

    def test_csv_is_written_over_an_older_one_whatever_the_paths_are(self, folder):
        for name in ("faces/0.png", "a" * 300):
            result = run("faces/0.png", name, "--csv", "rows.csv", status=int(len(name) > 255))
            assert "rows.csv" in result.stdout
        assert "File name too long" in (folder / "rows.csv").read_text()

    def test_a_tampered_bundle_is_refused_by_name(self, folder):
        (folder / "toy/hybrid.onnx").write_bytes(small_file(seed=5))
        result = run("faces/0.png", status=1)
        assert "hybrid.onnx is not the file" in result.stderr
        assert result.stdout == ""

    def test_a_photograph_is_brought_to_the_input(self, folder):
        """Colour, transparency, 16 bits, EXIF orientation, any size: the same pixels, the same answer."""
        grey = image(0)
        colour = Image.fromarray(grey).convert("RGB")
        colour.convert("RGBA").save("alpha.png")
        Image.fromarray(grey.astype(np.uint16) * 257).save("deep.png")
        turned = Image.Exif()
        turned[0x0112] = 6  # to be turned a quarter clockwise
        colour.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=turned)
        Image.new("RGB", (640, 480), (90, 90, 90)).save("photo.jpg", quality=95)
        Image.new("L", (8, 8), 90).save("small.png")
        names = ["alpha.png", "deep.png", "turned.png", "photo.jpg", "small.png"]
        rows = json.loads(run(*names, "--json").stdout)["rows"]
        found = [list(row["probabilities"].values()) for row in rows]
        np.testing.assert_allclose(found[:3], [probabilities(0)] * 3, atol=1e-5)
        np.testing.assert_allclose(found[3], found[4], atol=1e-6)


class TestShipped:
    """Neither model nor recipe is named."""

    @pytest.fixture
    def models(self, folder, monkeypatch):
        """The folders that may hold the bundle that ships: the first is empty."""
        places = (folder / "package", folder / "models")
        monkeypatch.setattr(shipped, "_shipped_places", lambda: places)
        return places

    @pytest.fixture
    def ships(self, folder, models):
        scores = {"split": "validation", "images": 300, "hybrid": {"accuracy": 0.7}, "cnn": {"accuracy": 0.6}}
        (folder / "toy").rename(folder / "moved")
        members = {name: (folder / "moved" / name).read_bytes() for name in ("hybrid.onnx", "cnn.onnx")}
        metadata = {**MANIFEST, "title": "Faces", "scores": scores}
        return write_bundle(models[1] / shipped.SHIPPED, metadata, members).folder

    def test_it_predicts_and_says_which_it_is(self, ships):
        result = run("faces/0.png", "--json", model=None)
        found = json.loads(result.stdout)
        assert found["model"]["path"] == str(ships / "hybrid.onnx")
        values = list(found["rows"][0]["probabilities"].values())
        np.testing.assert_allclose(values, probabilities(0), atol=1e-5)
        assert "Faces; accuracy 70.0% on 300 images of validation" in result.stderr
        assert str(ships) in result.stderr
        assert run("faces/0.png", "-q", model=None).stderr == ""

    def test_the_cnn_alone(self, ships):
        result = run("faces/0.png", "--json", "--graph", "cnn", model=None)
        values = list(json.loads(result.stdout)["rows"][0]["probabilities"].values())
        np.testing.assert_allclose(values, probabilities(0, seed=1), atol=1e-5)
        assert "accuracy 60.0%" in result.stderr

    def test_a_model_that_is_named_wins(self, ships, folder):
        write_bundle(folder / "toy", MANIFEST, {"hybrid.onnx": small_file(seed=7)})
        result = run("faces/0.png", "--json")
        values = list(json.loads(result.stdout)["rows"][0]["probabilities"].values())
        np.testing.assert_allclose(values, probabilities(0, seed=7), atol=1e-5)
        assert "Faces" not in result.stderr

    def test_the_faster_one_goes_by_its_name(self, ships, models):
        members = {"hybrid.onnx": small_file(seed=3)}
        folder = write_bundle(models[1] / shipped.FAST, MANIFEST, members).folder
        found = json.loads(run("faces/0.png", "--json", model=shipped.FAST).stdout)
        assert found["model"]["path"] == str(folder / "hybrid.onnx")

    def test_without_one_the_remedies_are_named(self, models):
        result = run("faces/0.png", model=None, status=1)
        assert all(word in result.stderr for word in ("no bundle came with", "--model", "--recipe"))
        assert result.stdout == ""

    def test_a_damaged_one_is_refused(self, ships):
        (ships / "hybrid.onnx").write_bytes(small_file(seed=5))
        assert "reinstall cnnboost" in run("faces/0.png", model=None, status=1).stderr

    @pytest.mark.parametrize(
        "option",
        [["--set", "cnn.epochs=1"], ["--data", "digits"], ["--models", "models"], ["--reports", "r"]],
    )
    def test_options_of_a_recipe_need_one(self, ships, option):
        result = run("faces/0.png", *option, model=None, status=2)
        assert option[0] in result.stderr
        assert "--recipe" in result.stderr

    def test_help_says_what_is_done_with_photographs(self):
        text = " ".join(invoke("predict", "--help").output.split())
        assert "It finds them in photographs" in text


class TestFaces:
    """The bundle that ships, which wants faces, on photographs."""

    @pytest.fixture
    def photographs(self, tmp_path, monkeypatch):
        """A portrait, two side by side, one that a phone holds sideways, and a picture without a face."""
        monkeypatch.chdir(tmp_path)
        portrait = astronaut()
        portrait.save("portrait.png")
        both = Image.new("RGB", (1024, 512))
        both.paste(portrait, (0, 0))
        both.paste(portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 0))
        both.save("two.png")
        turned = Image.Exif()
        turned[0x0112] = 6
        portrait.transpose(Image.Transpose.ROTATE_90).save("phone.jpg", quality=95, exif=turned)
        background().save("none.png")
        return tmp_path

    def rows(self, *arguments, status=0):
        result = run(*arguments, "--json", model=None, status=status)
        return json.loads(result.stdout)["rows"], result.stderr

    def test_the_face_of_a_portrait_is_found_without_being_asked_for(self, photographs):
        (row,), stderr = self.rows("portrait.png")
        assert list(row) == ["path", "face", "label", "probabilities"]
        assert row["label"] == "happy"
        assert row["probabilities"]["happy"] > 0.9
        face = row["face"]
        assert face["score"] > 0.8
        assert 150 < face["x"] < 200
        assert 190 < face["x"] + face["width"] / 2 < 255
        assert 60 < face["y"] + face["height"] / 2 < 150
        assert "portrait.png is larger than a cropped face" in stderr
        assert "--whole" in stderr

    def test_whole_is_what_it_was(self, photographs):
        (row,), stderr = self.rows("portrait.png", "--whole")
        assert list(row) == ["path", "label", "probabilities"]
        wanted = Predictor.load().predict_proba("portrait.png")[0]
        np.testing.assert_allclose(list(row["probabilities"].values()), wanted, atol=1e-6)
        assert "looking" not in stderr

    def test_crops_are_taken_as_they_are(self, photographs):
        crop = Image.open("portrait.png").crop((165, 45, 285, 165))
        for side in (48, 96, 300):
            crop.resize((side, side)).convert("L").save(f"{side}.png")
            found, stderr = self.rows(f"{side}.png")
            assert found == self.rows(f"{side}.png", "--whole")[0]
            assert "looking" not in stderr
        (row,), _ = self.rows("300.png", "--faces")
        assert row["face"]["width"] > 100

    def test_every_face_is_a_row(self, photographs):
        found, stderr = self.rows("two.png", "phone.jpg")
        assert [row["path"] for row in found] == ["two.png", "two.png", "phone.jpg"]
        assert [row["label"] for row in found] == ["happy"] * 3
        assert abs(found[0]["face"]["x"] - found[1]["face"]["x"]) > 400
        assert "2 images" in stderr
        (upright,), _ = self.rows("portrait.png")
        for key in ("x", "y", "width", "height"):
            assert found[2]["face"][key] == pytest.approx(upright["face"][key], abs=8)

    def test_a_picture_without_a_face_is_a_row_that_says_so(self, photographs):
        Path("bad.png").write_bytes(Path("none.png").read_bytes()[:2000])
        result = run(
            "none.png", "bad.png", "portrait.png", "--csv", "rows.csv", "--json", model=None, status=1
        )
        rows = json.loads(result.stdout)["rows"]
        assert rows[0] == {"path": "none.png", "face": None, "error": "no face was found"}
        assert "truncated" in rows[1]["error"]
        assert json.loads(result.stdout)["failed"] == 1
        written = list(csv.DictReader(io.StringIO(Path("rows.csv").read_text())))
        assert list(written[0])[-6:] == [
            "error",
            "face_x",
            "face_y",
            "face_width",
            "face_height",
            "face_score",
        ]
        assert (written[0]["error"], written[0]["face_x"], written[0]["happy"]) == (
            "no face was found",
            "",
            "",
        )
        assert float(written[2]["face_x"]) == rows[2]["face"]["x"]
        assert float(written[2]["happy"]) == rows[2]["probabilities"]["happy"]
        result = run("none.png", "portrait.png", model=None)
        assert "none.png: no face was found" in result.stdout
        assert "no face was found in 1 of 2 images" in result.stderr
        assert re.search(r"happy +0\.9\d+ +\d+ +\d+ +\d+ +\d+ +[01]\.\d\d  portrait\.png", result.stdout)

    def test_a_bundle_that_does_not_say_that_it_wants_faces_gets_the_whole(self, folder, photographs):
        assert "face" not in json.loads(run("portrait.png", "--json").stdout)["rows"][0]
        (row,) = json.loads(run("portrait.png", "--json", "--faces").stdout)["rows"]
        assert row["face"]["width"] > 50

    def test_annotated_is_about_a_clip(self, photographs):
        error = run("portrait.png", "--annotated", "a.mp4", model=None, status=2).stderr
        assert "about a clip" in error


class TestFreshProcess:
    @pytest.mark.parametrize("model", [["--model", "toy"], []])
    def test_nothing_slow_is_imported(self, folder, model):
        (folder / "models").mkdir()
        shutil.copytree("toy", folder / "models" / shipped.SHIPPED)
        code = """
import sys
from cnnboost.cli import app
from pathlib import Path
from cnnboost.deploy import bundle as shipped
shipped._shipped_places = lambda: [Path("models")]
try:
    app(["predict", "faces/0.png", *sys.argv[1:]])
finally:
    heavy = {"tensorflow", "keras", "xgboost", "sklearn", "scipy", "pandas", "matplotlib", "onnx", "joblib",
             "cnnboost.stages"}
    print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""
        command = [sys.executable, "-c", code, *model]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        which = [] if model else [f"toy ({Path('models', shipped.SHIPPED)})"]
        assert done.stderr.splitlines() == [*which, "1 image", "[]"]

    def test_ctrl_c_leaves_nothing(self, folder):
        process = subprocess.Popen(
            program("-", "--model", "toy", "--csv", "out/rows.csv"),
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        while not (folder / "out").is_dir() or not list((folder / "out").iterdir()):
            assert process.poll() is None
            process.stdin.write(b"faces/0.png\n" * 1000)
            process.stdin.flush()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"stopped" in stderr
        assert b"Traceback" not in stderr
        assert list((folder / "out").iterdir()) == []

    def test_a_reader_that_has_seen_enough(self, folder):
        (folder / "list").write_text("faces/0.png\n" * 20_000)
        with (folder / "list").open() as listed:
            process = subprocess.Popen(
                program("-", "--model", "toy", "--csv", "-"),
                stdin=listed, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert process.stdout.readline().startswith(b"path,label")
            process.stdout.close()
            stderr = process.stderr.read()
            process.stderr.close()
            assert process.wait(timeout=60) == 1
        assert b"Traceback" not in stderr
        assert b"Exception" not in stderr


class TestRecipe:
    @pytest.fixture
    def toy(self, job, recipe_file, tmp_path, monkeypatch):
        """Run on the toy recipe's own bundle; `job`'s CNN is trained, nothing is exported."""
        monkeypatch.chdir(tmp_path)
        pixels = job.images.validation.X[:2]
        for i in range(2):
            Image.fromarray(pixels[i, ..., 0]).save(f"{i}.png")
        return lambda *arguments: run(
            "0.png", "1.png", "--json", "--recipe", str(recipe_file), *arguments, model=None
        )

    def test_a_bundle_of_networks_of_a_part_is_found(self, toy, job, change, monkeypatch):
        parts = change(job, hybrid={"holdout": 0.2})
        metadata = {**MANIFEST, "recipe_digest": parts.recipe.digest(*BUNDLE_TABLES)}
        write_bundle(parts.bundle_dir, metadata, {"hybrid.onnx": small_file()})
        monkeypatch.setitem(sys.modules, "cnnboost.stages", None)  # importing it fails: nothing is exported
        found = json.loads(toy("--set", "hybrid.holdout=0.2").stdout)
        assert found["model"]["path"] == "models/toy/bundle/hybrid.onnx"

    def test_what_is_missing_is_exported_first_and_then_used(self, toy, job, monkeypatch):
        first = toy()
        assert "holds no bundle yet" in first.stderr
        written = (job.models_dir / "manifest.json").stat().st_mtime_ns
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "cnnboost.stages", None)  # importing it fails from here on
            again = toy("-q")
        assert again.stderr == ""
        assert again.stdout == first.stdout
        assert (job.models_dir / "manifest.json").stat().st_mtime_ns == written
        from cnnboost.stages import fit_boost
        from cnnboost.stages.extraction import extract

        X = extract(job, ["fc1"], ["validation"])["validation"].stored["fc1"].X[:2]
        wanted = fit_boost(job, "fc1").boost.predict_proba(np.asarray(X))
        rows = json.loads(first.stdout)["rows"]
        np.testing.assert_allclose([list(r["probabilities"].values()) for r in rows], wanted, atol=1e-5)

        changed = toy("--set", "boost.n_estimators=2")
        assert "exported before the recipe changed" in changed.stderr
        assert read_bundle(job.models_dir).manifest["rounds"] == 2
