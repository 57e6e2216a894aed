"""
Which layer, how deep trees? A grid search
==========================================

Layer and trees are parameters of one Pipeline, so `GridSearchCV` searches both. A
network that is trained already is given frozen: its features are computed once for each
layer and fold, and all candidates share them.
"""

import matplotlib.pyplot as plt
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures, load_images

images = load_images("digits", validation_fraction=0.6, cache=False)
cnn = CNNClassifier("digits", epochs=6).fit(images.train.X, images.train.labels)

# %%
# The search is on images that the network was not trained on: features of images that a
# network knows by heart look better than they are, and the deepest layer would win by
# that alone.
X, y = images.validation.X, images.validation.labels
hybrid = Pipeline(
    [
        ("features", CNNFeatures(FrozenEstimator(cnn))),
        ("boost", BoostClassifier(n_estimators=20, colsample_bytree=0.3, max_bin=32)),
    ]
)
grid = {"features__layer": ["flatten", "fc1", "fc2", "output"], "boost__max_depth": [1, 2, 4]}
search = GridSearchCV(hybrid, grid, cv=3).fit(X, y)
print(f"best: {search.best_params_}, accuracy {search.best_score_:.3f}")

# %%
# One line for each depth, with the spread over the folds.
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
found = search.cv_results_
for depth in grid["boost__max_depth"]:
    rows = [i for i, tried in enumerate(found["params"]) if tried["boost__max_depth"] == depth]
    mean, spread = found["mean_test_score"][rows], found["std_test_score"][rows]
    ax.errorbar(grid["features__layer"], mean, spread, marker="o", capsize=3, label=f"trees of depth {depth}")
ax.axhline(cnn.score(X, y), color="k", linestyle=":", label="the network's own softmax")
ax.set(xlabel="layer", ylabel="accuracy, mean of three folds")
ax.legend()
plt.show()
