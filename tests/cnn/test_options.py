import pytest

from cnnboost import CNNClassifier
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError
from cnnboost.images.augment import Augmentation


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 1.5}, r"epochs=1\.5 must be a whole number from 0 to 100,000"),
        ({"epochs": None}, "epochs=None"),
        ({"batch_size": True}, "batch_size=True"),
        ({"early_stopping": -1}, "early_stopping=-1"),
        ({"learning_rate": float("inf")}, r"learning_rate=inf must be a number in \(0, 1e\+09\]"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"momentum": 1.0}, r"momentum=1\.0 must be a number in \[0, 1\)"),
        ({"weight_decay": -1e-4}, r"weight_decay=-0\.0001 must be a number in \[0, 100\]"),
        ({"decay": float("nan")}, "decay=nan"),
        ({"reduce_lr_factor": 1.0}, r"reduce_lr_factor=1\.0 must be a number in \(0, 1\)"),
        ({"min_learning_rate": -1}, "min_learning_rate=-1"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1\.0"),
        ({"focal_gamma": -2}, "focal_gamma=-2"),
        ({"ema": 1.0}, r"ema=1\.0 must be a number in \(0, 1\)"),
        ({"mixup": -0.1}, r"mixup=-0\.1"),
        ({"balance": "yes"}, "balance='yes' must be true or false"),
        ({"nesterov": 1}, "nesterov=1 must be true or false"),
        (
            {"schedule": "linear"},
            "schedule='linear' is unknown; there are: constant, step, cosine, one-cycle",
        ),
        ({"loss": "hinge"}, "loss='hinge' is unknown; there are: crossentropy, focal"),
        ({"monitor": "val_acc"}, "monitor='val_acc' is unknown; there are: loss, accuracy, val_loss"),
        ({"schedule": "step"}, "needs step_epochs"),
        ({"step_epochs": 3}, "step_epochs=3 belongs to schedule='step'"),
        ({"warmup": 0.1}, r"warmup=0\.1 belongs to"),
        ({"warmup": 1.0, "schedule": "cosine"}, r"warmup=1\.0 must be a number in \[0, 1\)"),
        ({"decay": 0.1, "schedule": "cosine"}, r"decay=0\.1 and schedule='cosine'"),
        ({"reduce_lr": 3, "schedule": "cosine"}, "reduce_lr=3 and schedule='cosine'"),
        ({"reduce_lr": 3, "decay": 0.1}, r"reduce_lr=3 and decay=0\.1"),
        ({"progressive_resizing": [32, 0.5]}, "must be pairs of an image size in pixels and its share"),
        ({"progressive_resizing": 32}, "progressive_resizing=32 must be pairs"),
        ({"progressive_resizing": [(0, 0.5)]}, "progressive_resizing: size=0 must be a whole number"),
        (
            {"progressive_resizing": [(8, 1.0)]},
            r"progressive_resizing: share=1\.0 must be a number in \(0, 1\)",
        ),
        ({"progressive_resizing": [(8, 0.2), (8, 0.2)]}, "the sizes must grow"),
        ({"progressive_resizing": [(4, 0.6), (8, 0.5)]}, r"the shares of the epochs come to 1\.1; they must"),
        (
            {"progressive_resizing": [(4, 0.7), (6, 0.2), (8, 0.1)]},
            "the shares of the epochs come to 1; they",
        ),
        ({"precision": "float16"}, "precision='float16' is unknown; there are: float32, bfloat16"),
        ({"steps_per_execution": 0}, "steps_per_execution=0 must be a whole number from 1"),
        ({"teacher": 3}, "teacher=3 must be the path of a file that `cnnboost teach` wrote"),
        ({"teacher_weight": 1.1}, r"teacher_weight=1\.1 must be a number in \[0, 1\]"),
        ({"teacher_weight": True}, "teacher_weight=True"),
        ({"teacher_temperature": 0}, r"teacher_temperature=0 must be a number in \[0\.001, "),
        (
            {"augment": {"crop": 0.95}},
            r"augment: crop=0\.95 must be a share of height and width in \[0, 0\.9\]",
        ),
        ({"augment": {"spin": 3}}, "augment has no 'spin'"),
        ({"augment": {"flip": 3}}, "augment: flip=3"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given, words):
    with pytest.raises(ParameterError, match=words):
        TrainingOptions(**given)


def test_the_estimator_has_every_option_with_the_same_default():
    assert TrainingOptions.of(CNNClassifier().get_params()) == TrainingOptions()
    changed = CNNClassifier(
        augment={"flip": 0.5}, schedule="step", step_epochs=4, ema=0.99, random_state=7, loss="focal"
    )
    options = TrainingOptions.of(changed.get_params())
    assert options.augment == Augmentation(flip=0.5)
    assert (options.schedule, options.step_epochs, options.ema, options.seed) == ("step", 4, 0.99, 7)
    assert options.loss == "focal"
    assert changed.augment == {"flip": 0.5}


def test_what_balances_twice_is_refused(toy_images):
    with pytest.raises(ParameterError, match="balance=True and class_weight='balanced'"):
        CNNClassifier(balance=True, class_weight="balanced").fit(*toy_images)
    with pytest.raises(ParameterError, match="monitor='val_loss': there are no validation images"):
        CNNClassifier(monitor="val_loss", early_stopping=3).fit(*toy_images)
