"""A CNN that is trained under JAX is one like any other: its file loads under TensorFlow."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from cnnboost import CNNClassifier

pytest.importorskip("jax")

TRAINING = """
    import sys
    from pathlib import Path

    import keras
    import numpy as np
    from sklearn.datasets import load_digits

    from cnnboost import CNNClassifier
    from cnnboost.cnn.teacher import write_teacher

    assert keras.backend.backend() == "jax"
    folder = Path(sys.argv[1])
    X, y = load_digits(return_X_y=True)
    X, y = np.rint(X[:600] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1), y[:600]

    def pooled(input_shape, n_classes):
        layers = keras.layers
        stack = [keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Conv2D(32, 3, padding="same")]
        stack += [layers.BatchNormalization(), layers.ReLU(), layers.Conv2D(32, 3, padding="same")]
        stack += [layers.ReLU(), layers.GlobalMaxPooling2D(), layers.Dropout(0.1)]
        return keras.Sequential([*stack, layers.Dense(n_classes, "softmax")])

    options = {
        "epochs": 6,
        "batch_size": 30,
        "learning_rate": 0.01,
        "schedule": "one-cycle",
        "ema": 0.9,
        "progressive_resizing": [(6, 0.34)],
        "precision": "bfloat16",
        "steps_per_execution": 7,
        "validation_fraction": 0.3,
        "augment": {"crop": 0.05},
        "teacher": write_teacher(folder / "t.npz", np.log(np.eye(10)[y] * 0.9 + 0.01), X, np.arange(10)),
    }
    cnn = CNNClassifier(pooled, **options).fit(X, y)
    cnn.save(folder / "cnn.keras")
    np.savez(folder / "found.npz", proba=cnn.predict_proba(X), **cnn.history_)
"""


@pytest.mark.timeout(600)
def test_a_file_that_was_trained_under_jax_gives_the_same_under_tensorflow(toy_images, tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(TRAINING), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    X, y = toy_images
    cnn = CNNClassifier.load(tmp_path / "cnn.keras")
    np.testing.assert_allclose(cnn.predict_proba(X), found["proba"], atol=1e-5)
    assert cnn.score(X, y) > 0.8
    assert len(found["val_loss"]) == 6
    assert found["val_loss"][-1] < found["val_loss"][0]
