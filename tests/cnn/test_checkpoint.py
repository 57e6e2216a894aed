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
from cnnboost.errors import StoreError, TrainingError

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
    assert [len(values) for values in cnn.history_.values()] == [5] * len(cnn.history_)
    assert cnn.history_["loss"][4] < cnn.history_["loss"][0]
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


def test_a_damaged_checkpoint_is_named(stopped, toy_images):
    weights = next(stopped.glob("*.weights.h5"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(TrainingError, match=weights.name):
        CNNClassifier("digits", **options(stopped)).fit(*toy_images)
    weights.unlink()
    with pytest.raises(TrainingError, match="missing"):
        CNNClassifier("digits", **options(stopped)).fit(*toy_images)
    (stopped / "state.json").write_text("{")
    with pytest.raises(TrainingError, match="damaged"):
        CNNClassifier("digits", **options(stopped)).fit(*toy_images)


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
    assert cnn.history_["loss"][:-1] == done["history"]["loss"]
    assert np.isfinite(cnn.history_["loss"][-1])


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
