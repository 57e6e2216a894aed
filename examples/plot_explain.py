"""
Why this answer? Features, and where in the picture
===================================================

XGBoost says how much each feature moved an answer (SHAP values, exact for trees). Where
in the picture that comes from is found by covering it up, piece by piece, and watching
the probability of the answer.
"""

import matplotlib.pyplot as plt
import numpy as np
import xgboost
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures, load_images

images = load_images("digits", validation_fraction=0.3, cache=False)
train, new = images.train, images.validation
cnn = CNNClassifier("digits", epochs=5).fit(train.X, train.labels)
features = CNNFeatures(FrozenEstimator(cnn), layer="fc1")
hybrid = make_pipeline(features, BoostClassifier(n_estimators=30, max_depth=3)).fit(train.X, train.labels)
boost = hybrid[-1]

row = int(np.flatnonzero(new.labels == "8")[0])
picture = new.X[row : row + 1]
answer = int(hybrid.predict_proba(picture)[0].argmax())

# %%
# The ten features that moved the margin of the answer most; the last column of SHAP is
# what all images share.
margins = boost.booster_.predict(xgboost.DMatrix(hybrid[0].transform(picture)), pred_contribs=True)
moved = margins[0, answer, :-1]
most = np.argsort(-np.abs(moved))[:10][::-1]

# %%
# Cover 2 x 2 pixels with the background at each place; all of the covered pictures are
# one batch.
height, width = picture.shape[1:3]
covered = np.repeat(picture, (height - 1) * (width - 1), axis=0)
for i, (top, left) in enumerate(np.ndindex(height - 1, width - 1)):
    covered[i, top : top + 2, left : left + 2] = 0
drop = hybrid.predict_proba(picture)[0, answer] - hybrid.predict_proba(covered)[:, answer]

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
left.barh([f"fc1_{i}" for i in most], moved[most], color=np.where(moved[most] > 0, "C0", "C3"))
left.set(title=f"what speaks for {boost.classes_[answer]}", xlabel="change of the margin")
middle.imshow(picture[0, ..., 0], cmap="gray")
middle.set(title=f"labelled {new.labels[row]}", xticks=[], yticks=[])
shown = right.imshow(
    drop.reshape(height - 1, width - 1), cmap="magma", extent=(0.5, width - 0.5, height - 0.5, 0.5)
)
right.set(title="covered here, it loses", xticks=[], yticks=[])
figure.colorbar(shown, label="probability")
plt.show()
