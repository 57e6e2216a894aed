import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from cnnboost import CNNClassifier
from cnnboost.cnn.checkpoint import Checkpoint
from cnnboost.errors import StoreError
from cnnboost.files import read_json, write_json

TRAINING = """
    import sys
    import numpy as np
    from sklearn.datasets import load_digits
    from cnnboost import CNNClassifier

    X, y = load_digits(return_X_y=True)
    X = np.rint(X[:600] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    CNNClassifier("digits", epochs=400, checkpoint=sys.argv[1], early_stopping=300).fit(X, y[:600])
"""


class Stop(Exception):
    pass


def stop_after(epochs):
    import keras

    def end(epoch, logs):
        if epoch + 1 == epochs:
            raise Stop

    return keras.callbacks.LambdaCallback(on_epoch_end=end)


def options(folder, **more):
    return {"epochs": 5, "early_stopping": 4, "reduce_lr": 1, "checkpoint": folder, **more}


@pytest.fixture
def stopped(toy_images, tmp_path):
    """Leave the checkpoint of a training that broke off after its third epoch."""
    folder = tmp_path / "checkpoint"
    with pytest.raises(Stop):
        CNNClassifier("digits", **options(folder, callbacks=[stop_after(3)])).fit(*toy_images)
    return folder


def test_a_broken_training_continues_after_its_last_epoch(stopped, toy_images, caplog):
    first = json.loads((stopped / "state.json").read_text())
    with caplog.at_level("INFO", "cnnboost"):
        cnn = CNNClassifier("digits", **options(stopped)).fit(*toy_images)
    assert "continues after epoch 3 of 5" in caplog.text
    assert cnn.history_["loss"][:3] == first["history"]["loss"]
    undisturbed = CNNClassifier("digits", **options(None)).fit(*toy_images)
    for name in cnn.history_.keys() - {"seconds"}:
        assert cnn.history_[name] == undisturbed.history_[name]
    np.testing.assert_array_equal(cnn.predict_proba(toy_images[0]), undisturbed.predict_proba(toy_images[0]))
    with caplog.at_level("INFO", "cnnboost"):
        again = CNNClassifier("digits", **options(stopped)).fit(*toy_images)
    assert "continues after epoch 5 of 5" in caplog.text
    np.testing.assert_array_equal(again.predict_proba(toy_images[0]), cnn.predict_proba(toy_images[0]))


def test_weights_optimiser_and_counters_come_back(stopped, toy_images):
    import keras

    from cnnboost.cnn.architectures import build

    state = json.loads((stopped / "state.json").read_text())
    model = build("digits", (8, 8, 1), 10)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    Checkpoint(stopped, state["run"]).restore(model, state["weights"])
    assert int(model.optimizer.iterations) == 3 * -(-600 // 64)
    loss = model.evaluate(*toy_images, verbose=0)
    assert loss == pytest.approx(state["history"]["loss"][2], rel=0.5)
    assert state["counters"][0]["best"] == pytest.approx(min(state["history"]["loss"]))


@pytest.mark.parametrize(
    "change",
    [{"learning_rate": 0.01}, {"random_state": 1}, {"batch_size": 32}, {"model_options": {"dropout": 0.1}}],
)
def test_another_run_is_never_continued(stopped, toy_images, change, caplog):
    with caplog.at_level("INFO", "cnnboost"):
        cnn = CNNClassifier("digits", **options(stopped, epochs=1, **change)).fit(*toy_images)
    assert "continues" not in caplog.text
    assert len(cnn.history_["loss"]) == 1


def test_other_images_are_another_run(stopped, toy_images, caplog):
    X = toy_images[0].copy()
    X[0, 0, 0, 0] ^= 1
    with caplog.at_level("INFO", "cnnboost"):
        CNNClassifier("digits", **options(stopped, epochs=1)).fit(X, toy_images[1])
    assert "continues" not in caplog.text


def test_other_weights_and_other_validation_images_are_another_run(toy_images, tmp_path, caplog):
    X, y = toy_images
    weighted, held = {"sample_weight": np.arange(500.0)}, {"validation_data": (X[:100], y[:100])}
    cnn = CNNClassifier("digits", epochs=1, batch_size=500, checkpoint=tmp_path / "checkpoint")
    for given, same in (({}, False), (weighted, False), (weighted, True), (held, False), (held, True)):
        caplog.clear()
        with caplog.at_level("INFO", "cnnboost"):
            cnn.fit(X[100:], y[100:], **given)
        assert ("continues" in caplog.text) == same


def test_what_was_not_given_leaves_the_digest_as_it_was():
    from cnnboost.cnn.architectures import build
    from cnnboost.cnn.checkpoint import run_digest

    run = build("digits", (8, 8, 1), 2), np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 1])
    plain = run_digest(*run, {"epochs": 2})
    images = np.zeros((2, 8, 8, 1), np.uint8)
    known = {
        plain,
        run_digest(*run, {"epochs": 2}, np.ones(3)),
        run_digest(*run, {"epochs": 2}, None, (images, np.array([0, 1]))),
        run_digest(*run, {"epochs": 2}, None, (images, np.array([1, 1]))),
    }
    assert len(known) == 4
    assert run_digest(*run, {"epochs": 2}, None, None) == plain


def test_a_folder_that_cannot_be_made_is_named(toy_images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"epoch-0001\.weights\.h5 cannot be written"):
        CNNClassifier("digits", epochs=1, checkpoint=tmp_path / "file").fit(*toy_images)


@pytest.fixture
def tiny(tmp_path):
    """Return a checkpoint of two epochs and its model; nothing was trained for it."""
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    checkpoint = Checkpoint(tmp_path / "checkpoint", "run")
    for epoch, best in ((1, True), (2, False)):
        checkpoint.save(model, epoch, {"loss": [1.5] * epoch}, [{"best": 1.5}], best)
    return checkpoint, model


def test_weights_are_made_in_memory_and_come_back_as_they_were(tiny):
    checkpoint, model = tiny
    state = Checkpoint(checkpoint.folder, "run").state()
    assert (state["weights"], state["best"]) == ("epoch-0002.weights.h5", "epoch-0001.weights.h5")
    kernel = model.get_weights()[0]
    model.set_weights([kernel * 0, np.ones(1)])
    checkpoint.restore(model, state["weights"])
    np.testing.assert_array_equal(model.get_weights()[0], kernel)
    assert Checkpoint(checkpoint.folder, "another").state() is None


def state_of(folder, **change):
    """Write another state with a right checksum, as only a program could."""
    known = read_json(folder / "state.json")
    write_json(folder / "state.json", {**known, **change})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda f: (f / "epoch-0002.weights.h5").write_bytes(b"short"),
            r"epoch-0002\.weights\.h5 was altered",
        ),
        (lambda f: (f / "epoch-0001.weights.h5").unlink(), r"epoch-0001\.weights\.h5 is missing"),
        (lambda f: (f / "state.json").write_text("{"), "not JSON"),
        (lambda f: (f / "state.json").write_text("[]"), "holds no JSON object"),
        (lambda f: (f / "state.json").write_text('{"run": "run"}' + " " * 9), "starts over"),
        (lambda f: (f / "state.json").write_bytes(b"\xff"), "not JSON"),
        (lambda f: edit_digit(f / "state.json"), "altered after it was written"),
        (lambda f: state_of(f, weights="../../x"), "weights: string should match"),
        (lambda f: state_of(f, best="/etc/passwd"), "best: string should match"),
        (lambda f: state_of(f, epochs="2"), "epochs: input should be a valid integer"),
        (lambda f: state_of(f, epochs=0), "epochs: input should be greater"),
        (lambda f: state_of(f, counters={}), "counters: input should be a valid list"),
        (lambda f: state_of(f, history={"loss": ["a"]}), r"history\.loss\.0: input should be a valid number"),
        (lambda f: state_of(f, sha256={}), r"weights\.h5 was altered"),
    ],
)
def test_a_damaged_checkpoint_is_named(tiny, damage, said, caplog):
    folder = tiny[0].folder
    damage(folder)
    if said == "starts over":  # what an earlier version wrote had no checksum, and another order of images
        with caplog.at_level("INFO", "cnnboost"):
            assert Checkpoint(folder, "run").state() is None
        assert said in caplog.text
        return
    with pytest.raises(StoreError, match=f"{folder}.*{said}.*remove the folder"):
        Checkpoint(folder, "run").state()


def edit_digit(path):
    path.write_text(path.read_text().replace("1.5", "1.6", 1))


def test_what_a_kill_left_behind_goes_with_the_next_epoch(tiny):
    checkpoint, model = tiny
    (checkpoint.folder / ".epoch-0002.weights.0a1b2c3d.h5").write_bytes(b"half")
    checkpoint.save(model, 3, {"loss": [1.5] * 3}, [], True)
    assert sorted(path.name for path in checkpoint.folder.iterdir()) == [
        "epoch-0003.weights.h5",
        "state.json",
    ]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="this system does not limit the size of files")
def test_a_disk_without_room_is_named_and_left_clean(tmp_path):
    limited = """
        import resource, sys
        import keras
        from cnnboost.cnn.checkpoint import Checkpoint
        from cnnboost.cnn.model_file import write_model
        from cnnboost.errors import StoreError

        model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(100)])
        model.compile("adam", "mse")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for write in (
            lambda: Checkpoint(sys.argv[1], "run").save(model, 1, {}, [], True),
            lambda: write_model(model, sys.argv[1] + "/cnn.keras"),
        ):
            try:
                write()
            except StoreError as error:
                print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(limited), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    for line, name in zip(done.stdout.splitlines(), ("epoch-0001.weights.h5", "cnn.keras"), strict=True):
        assert line.startswith(f"{tmp_path / name} cannot be written: File too large")
        assert "bytes are needed" in line
    assert not list(tmp_path.iterdir())


def test_kill_9_loses_no_finished_epoch(toy_images, tmp_path, caplog):
    folder = tmp_path / "checkpoint"
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(TRAINING), str(folder)])
    try:
        deadline = time.monotonic() + 120
        while (
            not (folder / "state.json").is_file()
            or json.loads((folder / "state.json").read_text())["epochs"] < 3
        ):
            assert worker.poll() is None
            assert time.monotonic() < deadline
            os.sched_yield()
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    done = json.loads((folder / "state.json").read_text())
    with caplog.at_level("INFO", "cnnboost"):
        cnn = CNNClassifier("digits", epochs=done["epochs"] + 1, checkpoint=folder, early_stopping=300)
        cnn.fit(*toy_images)
    assert f"continues after epoch {done['epochs']} of" in caplog.text
    undisturbed = CNNClassifier("digits", epochs=done["epochs"] + 1, early_stopping=300).fit(*toy_images)
    assert cnn.history_["loss"] == undisturbed.history_["loss"]
    for found, expected in zip(cnn.model_.get_weights(), undisturbed.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_network_without_names_is_the_same_run_when_it_is_built_again():
    import keras

    from cnnboost.cnn.checkpoint import run_digest

    def build(width=4, name=None):
        layers = keras.layers
        stack = [keras.Input((8, 8, 1)), layers.Conv2D(width, 3, name=name), layers.ReLU()]
        nested = keras.Sequential([*stack, layers.Conv2D(width, 3)])
        x = image = keras.Input((8, 8, 1))
        return keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(nested(x))))

    def digest(model):
        return run_digest(model, np.zeros(3), np.zeros(3), {})

    first = digest(build())
    assert digest(build()) == first
    assert digest(build(width=5)) != first
    assert digest(build(name="conv2d_of_mine")) != first
