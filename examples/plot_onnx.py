"""
One file that runs without TensorFlow
=====================================

Network and trees become one ONNX graph, from bytes to probabilities. It is compared
with Keras and XGBoost before it is written, and needs ONNX Runtime and NumPy alone.
"""

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.pipeline import make_pipeline

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures, export_onnx, load_images

images = load_images("digits", validation_fraction=0.5, cache=False)
train, new = images.train, images.validation
cnn = CNNClassifier("digits", epochs=3).fit(train.X, train.labels)
hybrid = make_pipeline(CNNFeatures(cnn), BoostClassifier(n_estimators=30, max_depth=4)).fit(
    train.X, train.labels
)
path = export_onnx(hybrid, Path(tempfile.mkdtemp()) / "hybrid.onnx", new.X[:300])

# %%
# This is all that an application runs.
session = onnxruntime.InferenceSession(path)
(pixels,) = session.get_inputs()
probabilities = session.run(["probabilities"], {pixels.name: new.X})[0]
difference = np.abs(probabilities - hybrid.predict_proba(new.X)).max(axis=1)
print(f"{path.stat().st_size / 1024:.0f} KiB, median difference {np.median(difference):.0e}")
# Where a feature lies on the threshold of a tree, its last bit decides on the branch.
print(f"{np.sum(difference > 1e-5)} of {len(new)} images differ by more than 1e-5")


# %%
# A single image, two hundred times, each way.
def milliseconds(answer, times):
    """Return how long each call takes, after a few that do not count."""
    found = []
    for _ in range(times + 5):
        begun = time.perf_counter()
        answer(new.X[:1])
        found.append(1000 * (time.perf_counter() - begun))
    return found[5:]


ways = {
    "Keras and XGBoost": milliseconds(hybrid.predict_proba, 20),
    "one ONNX graph": milliseconds(lambda X: session.run(["probabilities"], {pixels.name: X}), 200),
}
figure, ax = plt.subplots(figsize=(7, 2.5), layout="constrained")
ax.boxplot(list(ways.values()), orientation="horizontal", tick_labels=list(ways), showfliers=False)
ax.set(xscale="log", xlabel="milliseconds for one image")
plt.show()
