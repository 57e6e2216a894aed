import numpy as np
import pytest

from cnnboost.cnn.losses import loss_and_accuracy, targets
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(30, 4)).astype(np.float32) * 2
PROBA = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
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
@pytest.mark.parametrize("gamma", [0.0, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
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
    with pytest.raises(ParameterError, match=r"mixup=0\.2 needs a model with one output for each class"):
        targets(TrainingOptions(mixup=0.2), "sigmoid", CODES % 2, 1)


@pytest.mark.parametrize("options", [{}, {"loss": "focal"}, {"mixup": 0.2}])
def test_accuracy_is_of_the_right_class(options):
    given = TrainingOptions(**options)
    _, accuracy = loss_and_accuracy(given, "softmax")
    accuracy.update_state(targets(given, "softmax", CODES, 4), PROBA)
    assert accuracy.name == "accuracy"
    assert float(accuracy.result()) == pytest.approx((PROBA.argmax(axis=1) == CODES).mean())
