"""A training that was killed ends as if nothing had happened, and its checkpoint is never trusted blindly."""

import json
import re
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from cnnboost import CNNClassifier
from cnnboost.cnn.architectures import build
from cnnboost.cnn.checkpoint import Checkpoint, run_digest, run_parameters
from cnnboost.cnn.model_file import write_model
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.teacher import write_teacher
from cnnboost.errors import StoreError
from cnnboost.files import read_json, write_json
from tests.cnn.toys import Stop, pooled, same_training, small, stop_after
from tests.waiting import wait_until

STOPPING = {
    "epochs": 5,
    "learning_rate": 0.02,
    "early_stopping": 1,
    "reduce_lr": 1,
    "validation_fraction": 0.3,
    "ema": 0.5,
    "augment": {"rotation": 10},
    "loss": "focal",
    "class_weight": "balanced",
}
STAGED = {
    "epochs": 4,
    "batch_size": 100,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "schedule": "one-cycle",
    "ema": 0.9,
    "precision": "bfloat16",
    # Two epochs at 5 pixels, and two at 8.
    "progressive_resizing": [(5, 0.5)],
    "augment": {"rotation": 5, "shift": 0.1, "crop": 0.1, "erasing": 0.2},
    "label_smoothing": 0.05,
    "mixup": 0.1,
    "balance": True,
    "validation_fraction": 0.3,
}


class Worse(keras.callbacks.Callback):
    """Makes the model surer of one class in each epoch, so that the loss can only grow."""

    def on_epoch_begin(self, epoch, logs=None):
        bias = np.zeros(10, np.float32)
        bias[0] = 10 * epoch
        self.model.layers[-1].bias.assign(bias)


WORSE = {
    "epochs": 9,
    "batch_size": 200,
    "learning_rate": 1e-9,
    "early_stopping": 2,
    "reduce_lr": 2,
    "min_learning_rate": 0,
    # Three epochs of 4 pixels, then the images as they are.
    "progressive_resizing": [(4, 0.34)],
    "validation_fraction": 0.3,
}
CASES = {
    "stopping": (small, STOPPING, []),
    "staged": (pooled, STAGED, []),
    "worse": (pooled, WORSE, [Worse]),
}


@pytest.fixture(autouse=True)
def each_epoch_is_written(monkeypatch):
    """Epochs of toys are shorter than it takes to write them."""
    monkeypatch.setattr("cnnboost.cnn.callbacks._SHARE", 1)


@pytest.fixture(scope="module")
def train(toy_images):
    """Return a function that trains one of the cases, undisturbed trainings once only."""
    done = {}

    def train(case, stop=None, **more):
        if not more and case in done:
            return done[case]
        network, options, own = CASES[case]
        callbacks = [callback() for callback in own] + ([stop] if stop else [])
        cnn = CNNClassifier(network, callbacks=callbacks, **{**options, **more}).fit(*toy_images)
        return cnn if more else done.setdefault(case, cnn)

    return train


@pytest.mark.parametrize(
    ("case", "kills"),
    [
        pytest.param("stopping", [2], id="stopping"),
        pytest.param("staged", [1, 2], id="within a stage and at its border"),
        pytest.param("worse", [5], id="counting full images"),
    ],
)
def test_a_killed_training_ends_exactly_as_an_undisturbed_one(case, kills, train, tmp_path, caplog):
    folder = {"checkpoint": tmp_path / "checkpoint"}
    with caplog.at_level("INFO", "cnnboost"):
        for epoch in kills:
            with pytest.raises(Stop):
                train(case, stop_after(epoch), **folder)
        continued = train(case, **folder)
    for epoch in kills:
        assert f"training continues after epoch {epoch} of" in caplog.text
    same_training(continued, train(case))
    # Asked once more, the finished training gives the same without a step.
    if case == "worse":
        same_training(train(case, **folder), train(case))


def test_only_epochs_of_full_images_are_compared_and_kept(train):
    cnn = train("worse")
    losses = cnn.history_["val_loss"]
    assert losses == sorted(losses)
    # The fourth is the first of full images; two more that are worse.
    assert len(losses) == 6
    assert convert_to_numpy(cnn.model_.layers[-1].bias).max() == pytest.approx(30, abs=1)
    # Each stage has a best epoch of its own, and its rate falls after two worse ones.
    halvings = np.rint(np.log2(1e-9 / np.array(cnn.history_["learning_rate"])))
    assert halvings.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("folder", [True, False], ids=["checkpoint", "memory"])
def test_a_training_that_a_callback_ends_early_keeps_its_last_epoch(folder, train, tmp_path):
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    cnn = train("worse", Enough(), checkpoint=tmp_path / "checkpoint" if folder else None)
    assert len(cnn.history_["loss"]) == 3
    assert convert_to_numpy(cnn.model_.layers[-1].bias).max() == pytest.approx(20, abs=1)


def test_where_epochs_are_short_the_first_the_best_and_the_last_are_written(
    toy_images, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("cnnboost.cnn.callbacks._SHARE", 1e-9)
    options = {"epochs": 7, "batch_size": 100, "early_stopping": 9, "validation_fraction": 0.3}
    written, save = [], Checkpoint.save

    def noted(self, model, epochs, *rest):
        written.append(epochs)
        save(self, model, epochs, *rest)

    monkeypatch.setattr(Checkpoint, "save", noted)
    folder = {"checkpoint": tmp_path / "checkpoint"}
    whole = CNNClassifier("linear", monitor="val_accuracy", **folder, **options).fit(*toy_images)
    best = np.maximum.accumulate(whole.history_["val_accuracy"])
    improved = [1, *(np.flatnonzero(np.diff(best) > 0) + 2).tolist()]
    assert written == sorted({*improved, 7})
    # Without early stopping there is no best one, and a kill costs what was not written.
    del options["early_stopping"]
    whole, written[:] = CNNClassifier("linear", **options).fit(*toy_images), []
    with pytest.raises(Stop):
        CNNClassifier("linear", callbacks=[stop_after(4)], **folder, **options).fit(*toy_images)
    with caplog.at_level("INFO", "cnnboost"):
        continued = CNNClassifier("linear", **folder, **options).fit(*toy_images)
    assert "training continues after epoch 1 of 7" in caplog.text
    # The first after the kill, whatever the share, and the last.
    assert written == [1, 2, 7]
    same_training(continued, whole)


TRAINING = """
    import sys
    import numpy as np
    from sklearn.datasets import load_digits
    from cnnboost import CNNClassifier

    X, y = load_digits(return_X_y=True)
    X = np.rint(X[:600] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    CNNClassifier("digits", epochs=400, checkpoint=sys.argv[1], early_stopping=300).fit(X, y[:600])
"""


@pytest.mark.slow
def test_kill_9_loses_no_finished_epoch(toy_images, tmp_path, caplog):
    folder = tmp_path / "checkpoint"
    state = folder / "state.json"
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(TRAINING), str(folder)])
    try:
        wait_until(lambda: state.is_file() and json.loads(state.read_text())["epochs"] >= 3, process=worker)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    done = json.loads(state.read_text())["epochs"]
    options = {"epochs": done + 1, "early_stopping": 300}
    with caplog.at_level("INFO", "cnnboost"):
        cnn = CNNClassifier("digits", checkpoint=folder, **options).fit(*toy_images)
    assert f"continues after epoch {done} of" in caplog.text
    same_training(cnn, CNNClassifier("digits", **options).fit(*toy_images))


class TestWhatIsAnotherRun:
    RUN = build("digits", (8, 8, 1), 2), np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 1])

    def digest(self, *more, **options):
        parameters = CNNClassifier(**options).get_params()
        return run_digest(*self.RUN, run_parameters(parameters, TrainingOptions.of(parameters)), *more)

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ({}, {"epochs": 7, "tta": "flip", "checkpoint": "elsewhere", "teacher_weight": 0.1}, True),
            ({}, {"learning_rate": 0.01}, False),
            ({}, {"validation_freq": 2}, False),
            ({}, {"random_state": 1}, False),
            ({}, {"model_options": {"dropout": 0.1}}, False),
            ({"schedule": "cosine"}, {"schedule": "cosine", "epochs": 7}, False),
            ({"progressive_resizing": [(4, 0.5)]}, {"progressive_resizing": [(6, 0.5)]}, False),
            ({"progressive_resizing": [(4, 0.5)]}, {"progressive_resizing": [(4, 0.5)], "epochs": 7}, False),
        ],
        ids=str,
    )
    def test_parameters_that_change_its_epochs_make_it_another(self, one, other, same):
        assert (self.digest(**one) == self.digest(**other)) == same

    def test_a_choice_that_is_new_leaves_trainings_that_had_none_as_they_were(self):
        parameters = CNNClassifier().get_params()
        assert "validation_freq" not in run_parameters(parameters, TrainingOptions.of(parameters))

    def test_so_do_images_weights_and_validation(self):
        model, X, codes = self.RUN
        images = np.zeros((2, 8, 8, 1), np.uint8)
        others = {
            self.digest(),
            self.digest(np.ones(3)),
            self.digest(None, (images, np.array([0, 1]))),
            self.digest(None, (images, np.array([1, 1]))),
            run_digest(model, X ^ 1, codes, {}),
            run_digest(model, X, codes, {}),
        }
        assert len(others) == 6
        assert self.digest(None, None) == self.digest()

    def test_a_teacher_counts_by_its_content_and_not_by_its_place(self, tmp_path):
        first, second = tmp_path / "first.npz", tmp_path / "second.npz"
        write_teacher(first, np.full((3, 2), -0.693), self.RUN[1], [0, 1])
        second.write_bytes(first.read_bytes())
        assert self.digest(teacher=first) == self.digest(teacher=second) != self.digest()
        write_teacher(second, np.log(np.full((3, 2), 0.5)), self.RUN[1], [0, 1])
        assert self.digest(teacher=first) != self.digest(teacher=second)

    def test_weights_and_validation_that_fit_is_given_count(self, toy_images, tmp_path, caplog):
        X, y = toy_images
        held = {"validation_data": (X[:100], y[:100])}
        for given, same in (
            ({}, False),
            ({"sample_weight": np.ones(600)}, False),
            (held, False),
            (held, True),
        ):
            caplog.clear()
            with caplog.at_level("INFO", "cnnboost"):
                CNNClassifier("linear", batch_size=600, epochs=1, checkpoint=tmp_path / "c").fit(
                    X, y, **given
                )
            assert ("continues" in caplog.text) == same

    def test_a_network_without_names_is_the_same_when_it_is_built_again(self):
        def digest(width=4, name=None):
            layers = keras.layers
            stack = [keras.Input((8, 8, 1)), layers.Conv2D(width, 3, name=name), layers.ReLU()]
            nested = keras.Sequential([*stack, layers.Conv2D(width, 3)])
            x = image = keras.Input((8, 8, 1))
            model = keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(nested(x))))
            return run_digest(model, np.zeros(3), np.zeros(3), {})

        first = digest()
        assert digest() == first
        assert len({first, digest(width=5), digest(name="conv2d_of_mine")}) == 3


class TestFiles:
    @pytest.fixture
    def tiny(self, tmp_path):
        """Return a checkpoint of two epochs and its model; nothing was trained for it."""
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        checkpoint = Checkpoint(tmp_path / "checkpoint", "run")
        for epoch, best in ((1, True), (2, False)):
            checkpoint.save(model, epoch, {"loss": [1.5] * epoch}, [{"best": 1.5}], best)
        return checkpoint, model

    def test_weights_come_back_as_they_were(self, tiny):
        checkpoint, model = tiny
        state = Checkpoint(checkpoint.folder, "run").state()
        assert (state["weights"], state["best"]) == ("epoch-0002.weights.h5", "epoch-0001.weights.h5")
        kernel = model.get_weights()[0]
        model.set_weights([kernel * 0, np.ones(1)])
        checkpoint.restore(model, state["weights"])
        np.testing.assert_array_equal(model.get_weights()[0], kernel)
        assert Checkpoint(checkpoint.folder, "another").state() is None
        other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        other.compile("adam", "mse")
        with pytest.raises(StoreError, match=r"epoch-0002\.weights\.h5 cannot be loaded .*; remove the"):
            checkpoint.restore(other, "epoch-0002.weights.h5")

    @pytest.mark.parametrize(
        ("name", "content", "complaint"),
        [
            ("epoch-0002.weights.h5", b"short", r"epoch-0002\.weights\.h5 was altered"),
            ("epoch-0001.weights.h5", None, r"epoch-0001\.weights\.h5 is missing"),
            ("state.json", b"{", "not JSON"),
            ("state.json", b'{"run": "run"}', "field required"),
            ("state.json", {"weights": "../../x"}, "weights: string should match"),
            ("state.json", {"best": "/etc/passwd"}, "best: string should match"),
            ("state.json", {"epochs": 0}, "epochs: input should be greater"),
            ("state.json", {"counters": {}}, "counters: input should be a valid list"),
            ("state.json", {"history": {"loss": ["a"]}}, r"history\.loss\.0: input should be a valid number"),
            ("state.json", {"sha256": {}}, r"weights\.h5 was altered"),
            ("state.json", (b"1.5", b"1.6"), "altered after it was written"),
        ],
        ids=str,
    )
    def test_what_is_wrong_with_a_file_is_named(self, tiny, name, content, complaint):
        path = tiny[0].folder / name
        if content is None:
            path.unlink()
        elif isinstance(content, dict):
            write_json(path, {**read_json(path), **content})
        elif isinstance(content, tuple):
            path.write_bytes(path.read_bytes().replace(*content, 1))
        else:
            path.write_bytes(content)
        with pytest.raises(StoreError, match=f"{path.parent}.*{complaint}.*remove the folder"):
            Checkpoint(path.parent, "run").state()

    def test_what_a_kill_left_behind_goes_with_the_next_epoch(self, tiny):
        checkpoint, model = tiny
        (checkpoint.folder / ".epoch-0002.weights.0a1b2c3d.h5").write_bytes(b"half")
        checkpoint.save(model, 3, {"loss": [1.5] * 3}, [], True)
        assert {path.name for path in checkpoint.folder.iterdir()} == {"epoch-0003.weights.h5", "state.json"}

    def test_a_folder_that_cannot_be_made_is_named(self, tiny, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"epoch-0001\.weights\.h5 cannot be written"):
            Checkpoint(tmp_path / "file", "run").save(tiny[1], 1, {}, [], True)


@pytest.fixture
def no_room():
    """Let no file of this process grow beyond 20 kB."""
    resource = pytest.importorskip("resource", reason="this system does not limit the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_without_room_is_named_and_left_clean(tmp_path, no_room):
    model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(100)])
    model.compile("adam", "mse")
    for name, write in {
        "epoch-0001.weights.h5": lambda: Checkpoint(tmp_path, "run").save(model, 1, {}, [], True),
        "cnn.keras": lambda: write_model(model, tmp_path / "cnn.keras"),
    }.items():
        said = f"{re.escape(str(tmp_path / name))} cannot be written: File too large.*bytes are needed"
        with pytest.raises(StoreError, match=said):
            write()
    assert not list(tmp_path.iterdir())
