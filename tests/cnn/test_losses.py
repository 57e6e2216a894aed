import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from cnnboost.cnn.batches import Batches
from cnnboost.cnn.losses import loss_and_accuracy, targets
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(30, 4)).astype(np.float32) * 2
PROBA = softmax(LOGITS, axis=1)
TAUGHT = log_softmax(RNG.normal(size=(30, 4)) * 2, axis=1).astype(np.float32)
CODES = RNG.integers(0, 4, 30)
WEIGHT = RNG.uniform(0.2, 3, 30).astype(np.float32)


def value(kind="softmax", weight=None, **options):
    given = TrainingOptions(**options)
    loss, _ = loss_and_accuracy(given, kind)
    output = {"softmax": PROBA, "logits": LOGITS, "sigmoid": PROBA[:, :1]}[kind]
    codes = CODES if kind != "sigmoid" else (CODES > 1).astype(int)
    y = targets(given, kind, codes, output.shape[1])
    return float(loss(y[:, None] if kind == "sigmoid" else y, output, sample_weight=weight))


def expected(gamma=0.0, smoothing=0.0, weight=None):
    y = np.eye(4)[CODES] * (1 - smoothing) + smoothing / 4
    each = -(y * (1 - PROBA) ** gamma * np.log(PROBA)).sum(axis=1)
    return float(np.mean(each if weight is None else each * weight))


@pytest.mark.parametrize("kind", ["softmax", "logits"])
@pytest.mark.parametrize(
    ("gamma", "smoothing", "weight"), [(0.0, 0.0, None), (2.0, 0.1, None), (5.0, 0.0, WEIGHT)]
)
def test_focal_loss_smoothing_and_weights_are_as_published(kind, gamma, smoothing, weight):
    found = value(kind, weight, loss="focal", focal_gamma=gamma, label_smoothing=smoothing)
    assert found == pytest.approx(expected(gamma, smoothing, weight), rel=1e-5)
    if gamma == 0:
        assert found == pytest.approx(value(kind, weight, label_smoothing=smoothing), rel=1e-5)


def test_one_sigmoid_unit():
    p, y = PROBA[:, 0].astype(float), (CODES > 1).astype(float)
    right = y * p + (1 - y) * (1 - p)
    assert value("sigmoid") == pytest.approx(-np.log(right).mean(), rel=1e-5)
    focal = (-((1 - right) ** 2) * np.log(right)).mean()
    assert value("sigmoid", loss="focal") == pytest.approx(focal, rel=1e-5)
    soft = y * 0.8 + 0.1
    smooth = -(soft * np.log(p) + (1 - soft) * np.log(1 - p)).mean()
    assert value("sigmoid", label_smoothing=0.2) == pytest.approx(smooth, rel=1e-5)
    for refused in ({"mixup": 0.2}, {"teacher": "t.npz"}):
        with pytest.raises(ParameterError, match="needs a model with one output for each class"):
            targets(TrainingOptions(**refused), "sigmoid", CODES % 2, 1)


@pytest.mark.parametrize("given", [{}, {"loss": "focal"}, {"mixup": 0.2}, {"teacher": "t.npz"}], ids=str)
def test_accuracy_is_of_the_right_class(given):
    given = TrainingOptions(**given)
    _, accuracy = loss_and_accuracy(given, "softmax")
    accuracy.update_state(targets(given, "softmax", CODES, 4, TAUGHT), PROBA)
    assert accuracy.name == "accuracy"
    assert float(accuracy.result()) == pytest.approx((PROBA.argmax(axis=1) == CODES).mean())


def options(**more):
    return TrainingOptions(teacher="t.npz", **more)


def taught_value(given, kind="softmax", soft_targets=TAUGHT, weight=None):
    loss, _ = loss_and_accuracy(given, kind)
    output = softmax(LOGITS, axis=1) if kind == "softmax" else LOGITS
    return float(loss(targets(given, kind, CODES, 4, soft_targets), output, sample_weight=weight))


def taught_expected(share, temperature, smoothing=0.0, weight=None):
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
    assert taught_value(given, kind) == pytest.approx(
        taught_expected(share, temperature, smoothing), rel=1e-4, abs=1e-5
    )
    assert taught_value(options()) == pytest.approx(taught_expected(0.7, 3.0), rel=1e-5), "the defaults"
    weighted = taught_expected(share, temperature, smoothing, WEIGHT)
    assert taught_value(given, kind, weight=WEIGHT) == pytest.approx(weighted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("loss", ["crossentropy", "focal"])
def test_images_without_a_teacher_have_the_usual_loss(loss):
    given = options(loss=loss, label_smoothing=0.1)
    usual = TrainingOptions(loss=loss, label_smoothing=0.1)
    plain, _ = loss_and_accuracy(usual, "softmax")
    wanted = float(plain(targets(usual, "softmax", CODES, 4), softmax(LOGITS, axis=1)))
    assert taught_value(given, soft_targets=None) == pytest.approx(wanted, rel=1e-6)


def test_probabilities_of_zero_give_no_infinite_loss():
    loss, _ = loss_and_accuracy(options(), "softmax")
    y = targets(options(), "softmax", np.array([0]), 2, np.array([[0.0, -30.0]], np.float32))
    assert np.isfinite(float(loss(y, np.array([[0.0, 1.0]], np.float32))))


def test_mixing_blends_the_teacher_as_it_blends_the_labels():
    given = options(mixup=0.4, batch_size=8, teacher_temperature=1.0)
    sure = np.where(np.eye(4)[CODES] > 0, 0.0, -200.0).astype(np.float32)
    X = RNG.integers(0, 256, (30, 2, 2, 1), dtype=np.uint8)
    for weight in (None, WEIGHT):
        feed = Batches(X, CODES, targets(given, "softmax", CODES, 4, sure), given, weight)
        _, y, *_ = feed.batch(1)
        # A teacher that is sure of the labels: both halves are one-hot, and must be blended alike.
        np.testing.assert_allclose(y[:, :4], y[:, 4:], atol=1e-6)
        assert ((y > 0.01) & (y < 0.99)).any()
        np.testing.assert_allclose(y.sum(axis=1), 2, rtol=1e-5)
