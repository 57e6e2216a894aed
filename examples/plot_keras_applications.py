"""
A network of keras.applications
===============================

Any Keras model can be cut, with its own way of preparing pixels: MobileNetV2 wants
colour from -1 to 1, at least 32 pixels, and has no flatten layer but a global average
pooling, which is taken as one.

``weights="imagenet"`` downloads 2 MB. Without them the network is random, and a
classifier on its features has to be held against one on the pixels.
"""

import matplotlib.pyplot as plt
from keras.applications import MobileNetV2
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cnnboost import BoostClassifier, CNNFeatures, load_images

WEIGHTS = None  # or "imagenet"

# %%
# Grey digits of 8 pixels, four of the ten, become colour pictures of 96.
images = load_images("digits", size=96, channels=3, drop=[*"012345"], cache=False)
X, y = images.X[::3], images.labels[::3]

network = MobileNetV2((96, 96, 3), alpha=0.35, weights=WEIGHTS, include_top=False, pooling="avg")
features = CNNFeatures(network, layer="flatten", pixels="symmetric")
small = FunctionTransformer(lambda X: X[:, ::12, ::12, 0].reshape(len(X), -1))  # as they were
heads = {
    "XGBoost": BoostClassifier(n_estimators=20, max_depth=3, colsample_bytree=0.1),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
}

# %%
# The features of a network that is not trained here are computed once for all folds and
# heads that ask for them.
scores = {
    (seen, name): cross_val_score(make_pipeline(step, head), X, y, cv=3).mean()
    for seen, step in (("MobileNetV2", features), ("pixels", small))
    for name, head in heads.items()
}
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
bars = ax.barh(
    [f"{name} on {seen}" for seen, name in scores], scores.values(), color=["C0", "C0", "C7", "C7"]
)
ax.bar_label(bars, fmt="{:.1%}", padding=3)
ax.set(
    xlim=(0, 1.12),
    xlabel="accuracy, mean of three folds",
    title=f"MobileNetV2, weights: {WEIGHTS or 'random'}",
)
plt.show()
