"""
The features for another classifier
===================================

`CNNFeatures` is a transformer, so anything of scikit-learn may follow it. Before trees
are praised, a linear classifier on the same features is the rival to beat; so is the
network's own last layer, which is one.
"""

import time

import matplotlib.pyplot as plt
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures, load_images
from cnnboost.metrics import score_predictions

images = load_images("digits", validation_fraction=0.5, cache=False)
train, new = images.train, images.validation
cnn = CNNClassifier("digits", epochs=5).fit(train.X, train.labels)

heads = {
    "XGBoost": BoostClassifier(n_estimators=30, max_depth=4, colsample_bytree=0.2),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "support vectors": make_pipeline(StandardScaler(), SVC()),
    "nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
}

# %%
# The network runs once for each layer: all heads get the features that are remembered by
# their content.
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for ax, layer in zip(axes, ("flatten", "fc1"), strict=True):
    for row, head in enumerate(heads.values()):
        begun = time.perf_counter()
        hybrid = make_pipeline(CNNFeatures(FrozenEstimator(cnn), layer=layer), head).fit(
            train.X, train.labels
        )
        seconds = time.perf_counter() - begun
        accuracy = score_predictions(new.labels, hybrid.predict(new.X)).accuracy
        low, high = accuracy.interval
        ax.errorbar(
            accuracy.value, row, xerr=[[accuracy.value - low], [high - accuracy.value]], fmt="o", capsize=4
        )
        ax.annotate(
            f"{seconds:.2f} s", (accuracy.value, row), (0, 8), textcoords="offset points", ha="center"
        )
    ax.margins(y=0.2)
    ax.axvline(cnn.score(new.X, new.labels), color="k", linestyle=":", label="softmax")
    ax.set(title=f"features of {layer}", xlabel="accuracy", yticks=range(len(heads)), yticklabels=list(heads))
axes[0].invert_yaxis()
axes[0].legend(loc="lower left")
plt.show()
