"""
How sure is sure? Calibration
=============================

A classifier is calibrated where 80 % of what it is 80 % sure of is right. A network
that knows its training images by heart is too sure of new ones, and plain trees on its
features are surer still; a temperature, or residual trees fitted on images that the
network has not seen, mend that. The calibration error is the mean distance from the
diagonal.
"""

import matplotlib.pyplot as plt
import numpy as np

from cnnboost import BoostClassifier, CNNClassifier, HybridClassifier, load_images
from cnnboost.metrics import score_predictions

images = load_images("digits", validation_fraction=0.6, cache=False)
rng = np.random.default_rng(0)
X = np.clip(images.X + rng.normal(0, 90, images.X.shape), 0, 255).astype(np.uint8)  # hard to read
train, new = np.flatnonzero(images.splits == "train"), np.flatnonzero(images.splits == "validation")
fresh, new = new[:400], new[400:]
y = images.labels

cnn = CNNClassifier("digits", epochs=30, model_options={"dropout": 0.0}).fit(X[train], y[train])
trees = BoostClassifier(n_estimators=60, max_depth=2, learning_rate=0.1, colsample_bytree=0.3)
plain = HybridClassifier(cnn, boost=BoostClassifier(n_estimators=60)).fit(X[train], y[train])
residual = HybridClassifier(cnn, mode="residual", boost=trees).fit(X[fresh], y[fresh])

# %%
# Each dot is a tenth of the images, from the least to the most certain answer.
figure, ax = plt.subplots(figsize=(5.5, 5), layout="constrained")
ax.plot([0, 1], [0, 1], color="0.7")
for name, classifier in {"softmax": cnn, "plain trees": plain, "residual trees": residual}.items():
    probabilities = classifier.predict_proba(X[new])
    sure, right = probabilities.max(axis=1), classifier.classes_[probabilities.argmax(axis=1)] == y[new]
    tenths = np.array_split(np.argsort(sure), 10)
    error = score_predictions(y[new], probabilities, classes=images.classes).calibration_error.value
    ax.plot(
        [sure[t].mean() for t in tenths],
        [right[t].mean() for t in tenths],
        "o-",
        label=f"{name}: {error:.3f}",
    )
ax.set(xlabel="how sure", ylabel="how often right", title=f"{len(new)} new images")
ax.legend(title="calibration error")
plt.show()
