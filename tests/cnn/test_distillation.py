import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from cnnboost import CNNClassifier
from cnnboost.cnn.architectures import build
from cnnboost.cnn.batches import Batches
from cnnboost.cnn.losses import loss_and_accuracy, targets
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.teacher import write_teacher
from cnnboost.cnn.training import train
from cnnboost.errors import DataError, ParameterError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(20, 4)).astype(np.float32) * 2
TAUGHT = log_softmax(RNG.normal(size=(20, 4)) * 2, axis=1).astype(np.float32)
CODES = RNG.integers(0, 4, 20)
WEIGHT = RNG.uniform(0.2, 3, 20).astype(np.float32)
FAST = {"epochs": 4, "batch_size": 32, "learning_rate": 3e-3}


def options(**more):
    return TrainingOptions(teacher="t.npz", **more)


def value(given, kind="softmax", soft_targets=TAUGHT, weight=None):
    loss, _ = loss_and_accuracy(given, kind)
    output = softmax(LOGITS, axis=1) if kind == "softmax" else LOGITS
    return float(loss(targets(given, kind, CODES, 4, soft_targets), output, sample_weight=weight))


def expected(share, temperature, smoothing=0.0, weight=None):
    y = np.eye(4)[CODES] * (1 - smoothing) + smoothing / 4
    labels = -(y * log_softmax(LOGITS.astype(float), axis=1)).sum(axis=1)
    teacher = softmax(TAUGHT.astype(float) / temperature, axis=1)
    student = log_softmax(LOGITS.astype(float) / temperature, axis=1)
    divergence = (teacher * (np.log(teacher) - student)).sum(axis=1)
    each = (1 - share) * labels + share * temperature**2 * divergence
    return float(np.mean(each if weight is None else each * weight))


@given(
    st.floats(0, 1), st.floats(0.5, 10), st.sampled_from(["softmax", "logits"]), st.sampled_from([0.0, 0.1])
)
@settings(max_examples=10, deadline=None)
def test_the_loss_is_as_published(share, temperature, kind, smoothing):
    given = options(teacher_weight=share, teacher_temperature=temperature, label_smoothing=smoothing)
    assert value(given, kind) == pytest.approx(expected(share, temperature, smoothing), rel=1e-4, abs=1e-5)
    weighted = expected(share, temperature, smoothing, WEIGHT)
    assert value(given, kind, weight=WEIGHT) == pytest.approx(weighted, rel=1e-4, abs=1e-5)


def test_the_defaults_are_those_that_are_documented():
    assert value(options()) == pytest.approx(expected(0.7, 3.0), rel=1e-5)


@pytest.mark.parametrize("loss", ["crossentropy", "focal"])
def test_images_without_a_teacher_have_the_usual_loss(loss):
    given = options(loss=loss, label_smoothing=0.1)
    usual = TrainingOptions(loss=loss, label_smoothing=0.1)
    plain, _ = loss_and_accuracy(usual, "softmax")
    wanted = float(plain(targets(usual, "softmax", CODES, 4), softmax(LOGITS, axis=1)))
    assert value(given, soft_targets=None) == pytest.approx(wanted, rel=1e-6)


def test_a_student_that_says_the_same_has_nothing_to_learn():
    given = options(teacher_weight=1.0)
    assert value(given, "logits", soft_targets=LOGITS) == pytest.approx(0, abs=1e-5)


def test_probabilities_of_zero_give_no_infinite_loss():
    loss, _ = loss_and_accuracy(options(), "softmax")
    y = targets(options(), "softmax", np.array([0]), 2, np.array([[0.0, -30.0]], np.float32))
    assert np.isfinite(float(loss(y, np.array([[0.0, 1.0]], np.float32))))


def test_accuracy_is_that_of_the_labels():
    _, accuracy = loss_and_accuracy(options(), "softmax")
    accuracy.update_state(targets(options(), "softmax", CODES, 4, TAUGHT), softmax(LOGITS, axis=1))
    assert accuracy.name == "accuracy"
    assert float(accuracy.result()) == pytest.approx((LOGITS.argmax(axis=1) == CODES).mean())


def test_one_sigmoid_unit_is_refused():
    with pytest.raises(
        ParameterError, match=r"teacher='t\.npz' needs a model with one output for each class"
    ):
        targets(options(), "sigmoid", CODES % 2, 1)


@pytest.mark.parametrize("teacher", ["t.npz", None])
def test_a_teacher_without_words_or_words_without_a_teacher_are_refused(teacher):
    given, soft_targets = TrainingOptions(teacher=teacher), None if teacher else TAUGHT
    model, X = build("digits", (8, 8, 1), 4), np.zeros((20, 8, 8, 1), np.uint8)
    with pytest.raises(ParameterError, match=f"log-probabilities .* {'missing' if teacher else 'given'}"):
        train(model, X, CODES, given, soft_targets=soft_targets)


def test_mixing_blends_the_teacher_as_it_blends_the_labels():
    given = options(mixup=0.4, batch_size=8, teacher_temperature=1.0)
    sure = np.where(np.eye(4)[CODES] > 0, 0.0, -200.0).astype(np.float32)
    X = RNG.integers(0, 256, (20, 2, 2, 1), dtype=np.uint8)
    for weight in (None, WEIGHT):
        feed = Batches(X, CODES, targets(given, "softmax", CODES, 4, sure), given, weight)
        _, y, *_ = feed.batch(1)
        # A teacher that is sure of the labels: both halves are one-hot, and must be blended alike.
        np.testing.assert_allclose(y[:, :4], y[:, 4:], atol=1e-6)
        assert ((y > 0.01) & (y < 0.99)).any()
        np.testing.assert_allclose(y.sum(axis=1), 2, rtol=1e-5)


@pytest.fixture(scope="module")
def contrary(toy_images, tmp_path_factory):
    """Return a teacher that takes every digit for the next one."""
    X, y = toy_images
    logs = np.where(np.eye(10)[(y + 1) % 10] > 0, -0.01, -7.0)
    return write_teacher(tmp_path_factory.mktemp("teacher") / "teacher.npz", logs, X, np.arange(10))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"augment": {"rotation": 5}, "balance": True, "ema": 0.9},
        {"mixup": 0.1, "class_weight": "balanced"},
        {"validation_fraction": 0.3, "label_smoothing": 0.1},
    ],
    ids=lambda more: next(iter(more), "plain"),
)
def test_the_student_follows_the_teacher_of_each_image(more, contrary, toy_images):
    X, y = toy_images
    cnn = CNNClassifier(
        "digits", teacher=contrary, teacher_weight=1.0, teacher_temperature=1.0, **FAST, **more
    )
    cnn.fit(X, y)
    assert np.mean(cnn.predict(X) == (y + 1) % 10) > 0.75
    # What is reported is the accuracy on the labels, which this teacher has led astray.
    assert cnn.history_["accuracy"][-1] < 0.2
    if "validation_fraction" in more:
        assert cnn.history_["val_accuracy"][-1] < 0.2
        assert cnn.history_["val_loss"][-1] > 2 > cnn.history_["loss"][-1]


def test_validation_has_the_usual_loss(contrary, toy_images):
    X, y = toy_images
    held = X[:100].astype(float) * 0.9, y[:100]
    cnn = CNNClassifier("digits", teacher=contrary, **FAST).fit(X, y, validation_data=held)
    proba = cnn.predict_proba(held[0])[np.arange(100), held[1]]
    assert cnn.history_["val_loss"][-1] == pytest.approx(-np.log(proba).mean(), rel=1e-3)


def test_a_teacher_without_weight_changes_nothing(contrary, toy_images):
    few = {**FAST, "epochs": 2, "label_smoothing": 0.1, "schedule": "cosine"}
    plain = CNNClassifier("digits", **few).fit(*toy_images)
    ignored = CNNClassifier("digits", teacher=contrary, teacher_weight=0.0, **few).fit(*toy_images)
    assert ignored.history_["loss"] == pytest.approx(plain.history_["loss"], rel=1e-4)


def test_the_teacher_of_other_images_is_refused_before_the_training(contrary, toy_images):
    X, y = toy_images
    with pytest.raises(DataError, match="has seen 600 images, there are 500"):
        CNNClassifier("digits", teacher=contrary, **FAST).fit(X[:500], y[:500])
    with pytest.raises(DataError, match="other classes"):
        CNNClassifier("digits", teacher=contrary, **FAST).fit(X, y % 5)


def test_another_teacher_is_another_run_and_another_place_is_not(contrary, toy_images, tmp_path, caplog):
    X, y = toy_images
    moved = tmp_path / "moved.npz"
    moved.write_bytes(contrary.read_bytes())
    few = {**FAST, "epochs": 1, "checkpoint": tmp_path / "checkpoint"}
    CNNClassifier("digits", teacher=contrary, **few).fit(X, y)
    with caplog.at_level("INFO", "cnnboost"):
        CNNClassifier("digits", teacher=moved, **few).fit(X, y)
    assert "continues after epoch 1 of 1" in caplog.text
    caplog.clear()
    write_teacher(moved, np.full((600, 10), -2.3), X, np.arange(10))
    with caplog.at_level("INFO", "cnnboost"):
        CNNClassifier("digits", teacher=moved, **few).fit(X, y)
        CNNClassifier("digits", **few).fit(X, y)
    assert "continues" not in caplog.text


def test_a_student_is_saved_as_any_other(contrary, toy_images, tmp_path):
    X, y = toy_images
    cnn = CNNClassifier("digits", teacher=contrary, **{**FAST, "epochs": 1}).fit(X, y)
    again = CNNClassifier.load(cnn.save(tmp_path / "cnn.keras"))
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))
