import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cnnboost.files import read_json
from tests.command_line import invoke
from tests.waiting import wait_until


@pytest.fixture
def cnnboost(job, recipe_file, tmp_path, monkeypatch):
    """Run a command on the toy recipe, in a folder where its CNN is trained."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(recipe_file, tmp_path / "toy.toml")

    def run(*arguments, recipe=True, status=0):
        return invoke(*arguments, *(["--recipe", recipe_file] if recipe else []), status=status)

    return run


def document(result):
    return json.loads(result.stdout)


def test_inspect(cnnboost):
    found = document(cnnboost("inspect", "--json"))
    assert set(found) == {
        "recipe", "data_digest", "source", "n_images", "shape", "counts", "duplicates", "constant", "bad",
        "written",
    }  # fmt: skip
    assert "constant images: 0" in cnnboost("inspect").stdout


def test_train(cnnboost):
    trained = document(cnnboost("train", "--json"))
    assert set(trained) == {"recipe", "model", "cached", "epochs", "fit_seconds", "last_epoch", "classes"}
    assert (trained["recipe"], trained["cached"], trained["epochs"]) == ("toy", True, 2)
    again = cnnboost("train", "--force")
    assert "epoch 2 of 2" in again.stderr
    assert "accuracy" in again.stdout


def test_train_overfit(cnnboost, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")}
    assert "It can: after" in cnnboost("train", "--overfit", "20", "-s", "cnn.learning_rate=0.01").stdout
    found = read_json(tmp_path / "reports/toy/overfit.json")
    assert (found["learnt"], found["accuracy"], found["images"]) == (True, 1.0, 20)
    slow = ("train", "--overfit", "20", "--steps", "2", "-s", "cnn.learning_rate=1e-9")
    failed = cnnboost(*slow, "-s", "cnn.augment.flip=0.5", status=1)
    assert "Can the network learn? It cannot: after 2 epochs" in failed.stdout
    assert "raise cnn.learning_rate (1e-09)" in failed.stdout
    assert "switched off: augment={'flip': 0.5}" in failed.stdout
    found = document(cnnboost(*slow, "--json", status=1))
    assert (found["learnt"], found["written"]) == (False, ["reports/toy/overfit.json"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")} == before


def test_a_teacher_is_written_and_a_student_follows_it(cnnboost, tmp_path):
    found = cnnboost("distill", "--tta", "flip")
    assert "training images in 10 classes by 1 network, views: flip" in found.stdout
    assert "--set cnn.teacher=models/toy/teacher.npz" in found.stdout
    document = json.loads(cnnboost("teach", "--tta", "flip", "--json").stdout)
    assert set(document) == {"recipe", "teacher", "cached", "networks", "tta", "images", "classes"}
    assert document["cached"]
    student = ["-s", "name=student", "-s", "cnn.teacher=models/toy/teacher.npz", "-s", "cnn.epochs=1"]
    assert "accuracy" in cnnboost("train", *student).stdout
    assert (tmp_path / "models/student/cnn.keras").is_file()


def test_several_networks_teach_together(cnnboost, tmp_path):
    model = "models/toy/cnn.keras"
    found = cnnboost("distill", "--model", model, "--model", model, "--out", "two.npz", "--json")
    assert json.loads(found.stdout)["networks"] == [model, model]
    assert (tmp_path / "two.npz").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["distill", "--tta", "five"], 2, ["five", "ten-crop"]),
        (["distill", "--out", "teacher.npy"], 2, ["teacher.npy", ".npz"]),
        (["distill", "--model", "none.keras"], 1, ["none.keras", "no such file"]),
        (["distill", "-s", "cnn.teacher=models/toy/teacher.npz"], 2, ["own CNN follows", "--out"]),
        (["train", "-s", "cnn.teacher=none.npz"], 1, ["none.npz", "no such file", "cnnboost distill -r"]),
        (["train", "-s", "cnn.teacher=models/toy/cnn.keras"], 1, ["not the file of a teacher"]),
        (["train", "-s", "cnn.teacher_weight=1.5"], 2, ["teacher_weight", "1.5"]),
        (["train", "-s", "cnn.teacher_temperature=0"], 2, ["teacher_temperature"]),
        (["train", "-s", "cnn.augment={crop=2}"], 2, ["crop=2", "share of height and width"]),
        (["train", "-s", "cnn.progressive_resizing=[[9, 0.5]]"], 2, ["9 pixels", "these have 8"]),
        (["train", "-s", "cnn.precision=half"], 2, ["precision", "bfloat16"]),
        (["train", "-s", "cnn.steps_per_execution=0"], 2, ["steps_per_execution"]),
    ],
)
def test_mistakes_about_teachers_and_trainings_are_named(arguments, status, words, cnnboost):
    output = cnnboost(*arguments, status=status).output
    assert all(word in output for word in words), output


def test_layers(cnnboost, toy_file):
    listed = document(cnnboost("layers", "--json"))["layers"]
    assert {tuple(layer) for layer in listed} == {("name", "keras_name", "kind", "width")}
    assert {layer["name"]: layer["width"] for layer in listed}["fc1"] == 16
    assert re.search(r"fc1 +fc1 +Dense +64", cnnboost("layers", "--model", str(toy_file)).stdout)


def test_extract_and_fit_boost(cnnboost, tmp_path):
    found = document(cnnboost("extract", "--json", "--out", "plain", "-l", "fc1", "--split", "train"))
    (row,) = found["features"]
    assert set(row) == {"split", "layer", "rows", "width", "path", "cached", "resumed_from"}
    assert found["written"] == ["plain/train-fc1.npy", "plain/train-labels.npy"]
    assert (tmp_path / row["path"]).is_file()
    head = document(cnnboost("fit-boost", "--layer", "fc1", "--json", "-s", "boost.n_estimators=3"))
    assert set(head) == {
        "recipe", "layer", "mode", "path", "cached", "device", "rounds", "rows", "width", "fit_seconds",
        "classes", "chosen_on", "temperature", "weight",
    }  # fmt: skip
    assert (head["layer"], head["device"], head["rounds"], head["cached"]) == ("fc1", "cpu", 3, False)
    assert "up to date" in cnnboost("fit-boost", "--set", "boost.n_estimators=3").stdout


def test_evaluate_and_run(cnnboost):
    scores = document(cnnboost("evaluate", "-l", "fc1", "--json"))
    assert [row["layer"] for row in scores["heads"]] == ["fc1"]
    assert "reports/toy/metrics.json" in scores["written"]
    text = invoke("run", "digits", "--smoke", "-q", columns=80).stdout
    heads = (f"XGBoost at {layer}" for layer in ("flatten", "fc1", "fc2", "output"))
    for line in ("CNN softmax", *heads, "metrics.json"):
        assert line in text
    table = text.split("CNN softmax")[0].splitlines()[-1]
    for column in ("accuracy", "macro F1", "log-loss", "fit s"):
        assert column in table


def test_run_repeats(cnnboost, tmp_path, recipe_file):
    few = ("run", recipe_file, "--smoke", "--repeats", 2, "-s", 'cut.layers=["fc1"]', "-s", "cnn.seed=5")
    found = document(cnnboost(*few, "--json", recipe=False))
    assert [run["seed"] for run in found["runs"]] == [5, 6]
    assert found["written"] == ["reports/toy-smoke/repeats.json"]
    assert (tmp_path / "models/toy-smoke/repeats/6/cnn.keras").is_file()
    again = cnnboost(*few, recipe=False)
    assert again.stderr.count("up to date") >= 4
    for words in ("CNN softmax", "XGBoost at fc1", "seeds 5, 6", "repeats.json"):
        assert words in again.stdout
    header = again.stdout.split("CNN softmax")[0].splitlines()[-1].split()
    assert header == ["classifier", "mean", "standard", "deviation", "variance", "lowest", "highest"]
    assert len(re.findall(r"(?m)\b(precision|recall|F1)( +[0-9.e%-]+){5} *$", again.stdout)) == 2 * 10 * 3
    first = again.stdout.split("CNN softmax")[1].split()[0]
    assert first == f"{found['cnn']['accuracy']['mean']:.2%}"


def test_quiet_says_nothing_and_json_is_alone_on_stdout(cnnboost):
    assert cnnboost("train", "--quiet", "--json").stderr == ""
    loud = cnnboost("train", "--json")
    assert "up to date" in loud.stderr
    json.loads(loud.stdout)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["extrct"], 2, ["Did you mean 'extract'"]),
        (["extract", "--lyer", "fc1"], 2, ["--layer"]),
        (["train", "--recipe", "olso"], 2, ["Did you mean 'oslo'"]),
        (["train", "--recipe", "oslo"], 1, ["--data"]),
        (["train", "--set", "cnn.epohs=1"], 2, ["epohs", "epochs"]),
        (["train", "--set", "cnn.architecture=resnet"], 1, ["'resnet'", "oslo"]),
        (["train", "--data", "nowhere.zip"], 1, ["nowhere.zip", "does not exist"]),
        (["fit-boost", "--layer", "fc9"], 2, ["'fc9'", "fc1 (64)"]),
        (["fit-boost", "--device", "gpu"], 1, ["'gpu'", "cuda"]),
        (["fit-boost", "--mode", "magic"], 2, ["'magic'", "plain"]),
        (["extract", "--split", "tset"], 1, ["'tset'", "validation"]),
        (["evaluate", "--split", "test"], 1, ["'test'", "train, validation"]),
        (["layers", "--model", "no.keras"], 1, ["no.keras", "no such file"]),
        (["layers", "--model", "no.txt"], 1, ["no.txt", ".keras"]),
        (["extract", "--pixels", "percent"], 2, ["percent", "unit"]),
        (["train", "--overfit", "0"], 2, ["overfit=0", "at least 10"]),
        (["train", "--overfit", "3"], 2, ["overfit=3", "at least 10"]),
        (["train", "--overfit", "99999"], 2, ["overfit=99999", "only 1258"]),
        (["train", "--overfit", "20", "--steps", "0"], 2, ["steps=0"]),
        (["train", "--steps", "5"], 2, ["--steps", "--overfit"]),
        (["run", "--repeats", "1"], 2, ["repeats=1", "at least 2"]),
        (["train", "--epochs", "5"], 2, ["--set cnn.epochs=5"]),
        (["train", "--batch-size=8"], 2, ["--set cnn.batch_size=8"]),
        (["run", "--learning-rate", "0.1"], 2, ["cnn.learning_rate=0.1 or --set boost.learning_rate=0.1"]),
        (["fit-boost", "--max-depth"], 2, ["--set boost.max_depth=..."]),
        (["fit-boost", "--layers", "fc1"], 2, ["--layer"]),
        (["fit-boost", "--no-such-thing"], 2, ["No such option: --no-such-thing"]),
        (["fit-boost", "--layer", "fcl"], 2, ["'fcl'", "fc1 (64)"]),
        (["train", "--models", "here.keras"], 2, ["here.keras is a file", "--model here.keras"]),
        (["train", "--reports", "here.keras"], 2, ["--reports here.keras is a file"]),
        (["layers", "--model", "."], 2, ["--model . is a folder", "such as here.keras"]),
        (["extract", "--model", "toy.keras"], 1, ["needs images", "--data PATH"]),
    ],
)
def test_mistakes_are_named_and_have_a_status(arguments, status, words, toy_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.keras").write_text("")
    if "toy.keras" in arguments:
        shutil.copy(toy_file, "toy.keras")
    overrides = [] if "--recipe" in arguments or arguments[0] == "extrct" else ["-s", "cnn.epochs=1"]
    result = invoke(*arguments, *overrides, status=status, columns=200)
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == ""
    assert "epoch 1" not in result.stderr


def test_a_folder_that_cannot_be_written_is_named(cnnboost, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in cnnboost("train", "--models", "file/models", status=1).stderr


def test_ctrl_c_keeps_finished_epochs(recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["train", "-r", str(recipe_file), "-s", "cnn.epochs=500"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cnnboost", *command], stderr=subprocess.PIPE, text=True
    )
    state = tmp_path / "models/toy/checkpoint/state.json"
    wait_until(state.is_file, process=process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "continues there" in stderr
    assert "Traceback" not in stderr
    assert state.is_file()
    done = read_json(state)["epochs"]
    command[-1] = f"cnn.epochs={done + 1}"
    again = invoke(*command)
    assert f"continues after epoch {done} of {done + 1}" in again.stderr


def test_without_a_recipe_images_speak_for_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for code, name in enumerate(("cat", "dog")):
        (tmp_path / "My pets" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(100 * code, 100 * code + 90, (128, 96, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "My pets" / name / f"{i}.png")
    small = ["-s", "cnn.options={filters=[2], convolutions=[1], dense=[4]}", "-s", "cnn.epochs=2"]
    result = invoke("run", "--data", "My pets/", *small, "-s", "boost.n_estimators=2")
    for words in ("96x72 RGB", "'vgg'", "128x96", "2 classes", "named 'My-pets'", "0:00:", "left"):
        assert words in result.stderr
    assert "My-pets: scores on validation" in result.stdout
    assert "digits" not in result.output
    assert (tmp_path / "reports/My-pets/index.html").is_file()
    assert result.stdout.rstrip().endswith("reports/My-pets/index.html")
    heads = {path.name for path in (tmp_path / "models/My-pets/heads").glob("*.ubj")}
    assert heads == {"flatten-plain.ubj", "fc1-plain.ubj", "output-plain.ubj"}


def test_without_a_recipe_models_of_equal_name_stay_apart(toy_images, tmp_path, monkeypatch):
    import keras

    monkeypatch.chdir(tmp_path)
    np.savez("digits8.npz", X=toy_images[0][:200], y=toy_images[1][:200])
    for folder in "ab":
        layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(6, "relu")]
        (tmp_path / folder).mkdir()
        keras.Sequential([*layers, keras.layers.Dense(10, "softmax")]).save(f"{folder}/m.keras")
    for folder in "ab":
        given = ["--model", f"{folder}/m.keras", "--data", "digits8.npz"]
        invoke("extract", *given, "--out", f"{folder}/o")
        assert np.load(f"{folder}/o/train-fc1.npy").shape[1] == 6
        done = invoke("fit-boost", *given, "-s", "boost.n_estimators=2", "--json")
        assert not document(done)["cached"]
    assert len(list((tmp_path / "models").glob("*/heads/fc1-plain.ubj"))) == 2


def test_a_page_that_cannot_be_written_loses_no_scores(cnnboost, tmp_path):
    (tmp_path / "reports" / "toy" / "index.html").mkdir(parents=True)
    result = cnnboost("run", str(tmp_path / "toy.toml"), recipe=False)
    assert "CNN softmax" in result.stdout
    assert "no report page was written" in result.stderr
    assert "index.html" not in result.stdout


SHARED = {"--data", "--models", "--reports", "--set", "--on-bad", "--json", "--quiet"}
OWN = {
    "inspect": set(),
    "train": {"--overfit", "--steps", "--force"},
    "layers": {"--model"},
    "extract": {"--layer", "--split", "--out", "--force", "--model", "--pixels", "--classes"},
    "fit-boost": {"--layer", "--mode", "--tta", "--device", "--force", "--model", "--pixels", "--classes"},
    "evaluate": {"--layer", "--mode", "--tta", "--split", "--device", "--model", "--pixels", "--classes"},
    "run": {"--smoke", "--repeats", "--device"},
    "compare": {"--seeds", "--split"},
    "distill": {"--model", "--pixels", "--tta", "--out", "--force"},
    "tune": {"--study", "--all"},
}


@pytest.mark.parametrize(("command", "own"), OWN.items())
def test_every_command_has_its_options(command, own):
    shown = invoke(command, "--help", columns=200).stdout
    assert SHARED | own | (set() if command == "run" else {"--recipe"}) <= set(
        re.findall(r"--[a-z-]+", shown)
    )


def test_help_lists_the_commands_and_no_former_name():
    shown = invoke("--help", columns=200).stdout
    listed = set(re.findall(r"(?m)^│ ([a-z][a-z-]+)  ", shown))
    assert set(OWN) | {"export", "predict", "bench", "report", "card", "init", "serve"} == listed
    assert "--install-completion" in shown


@pytest.mark.parametrize("size", ["0", "-1", "12XB"])
def test_a_size_of_memory_that_is_none_is_a_usage_error(cnnboost, size):
    found = cnnboost("fit-boost", f"--memory={size}", status=2)
    assert f"memory={size!r}" in found.output.replace("\n", " ")
    assert "2GiB" in found.output


def test_images_are_streamed_on_request(cnnboost, toy_file, tmp_path, monkeypatch):
    monkeypatch.setenv("CNNBOOST_CACHE", str(tmp_path / "cache"))
    given = ["--model", str(toy_file), "--layer", "fc1"]
    found = document(cnnboost("extract", *given, "--no-image-cache", "--split", "validation", "--json"))
    assert found["features"][0]["rows"] > 500
    assert not list((tmp_path / "cache").rglob("images.npy"))
    assert "name it with --model FILE" in cnnboost("extract", "--no-image-cache", status=2).stderr.replace(
        "\n", " "
    )
