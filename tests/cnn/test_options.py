from pathlib import Path

import numpy as np
import pytest

from cnnboost import CNNClassifier
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError
from cnnboost.images.augment import Augmentation


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 1.5}, r"epochs=1\.5: input should be a valid integer"),
        ({"batch_size": True}, "batch_size=True"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"momentum": 1.0}, r"momentum=1\.0: input should be less than 1"),
        ({"decay": float("nan")}, "decay=nan"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1\.0"),
        ({"balance": "yes"}, "balance='yes'"),
        ({"schedule": "linear"}, "schedule='linear': .* 'constant', 'step', 'cosine' or 'one-cycle'"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"monitor": "val_acc"}, "monitor='val_acc'"),
        ({"schedule": "step"}, "needs step_epochs"),
        ({"step_epochs": 3}, "step_epochs=3 belongs to schedule='step'"),
        ({"warmup": 0.1}, r"warmup=0\.1 belongs to"),
        ({"reduce_lr": 3, "schedule": "cosine"}, "schedule='cosine' and reduce_lr=3 each set"),
        ({"reduce_lr": 3, "decay": 0.1}, r"decay=0\.1 and reduce_lr=3 each set"),
        ({"progressive_resizing": [32, 0.5]}, "give pairs of an image size in pixels and its share"),
        ({"progressive_resizing": 32}, "progressive_resizing=32: give pairs"),
        ({"progressive_resizing": [(8, 1.0)]}, r"progressive_resizing\.0\.1=1\.0"),
        ({"progressive_resizing": [(8, 0.2), (8, 0.2)]}, "the sizes must grow"),
        (
            {"progressive_resizing": [(4, 0.7), (6, 0.2), (8, 0.1)]},
            "the shares of the epochs come to 1; they",
        ),
        ({"precision": "float16"}, "precision='float16'"),
        ({"teacher": 3}, "teacher=3"),
        ({"teacher_weight": 1.1}, r"teacher_weight=1\.1"),
        ({"augment": {"crop": 0.95}}, r"^augment: crop=0\.95 must be a share"),
        ({"augment": {"spin": 3}}, "augment has no 'spin'"),
        ({"balance": True, "class_weight": "balanced"}, "balance=True and class_weight='balanced'"),
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


def test_numbers_of_numpy_and_paths_are_taken():
    options = TrainingOptions(epochs=np.int64(0), learning_rate=np.float32(0.5), teacher=Path("t.npz"))
    assert (options.epochs, options.learning_rate, options.teacher) == (0, 0.5, Path("t.npz"))
