"""
Plain trees, or trees that start from the softmax?
==================================================

Plain trees start from nothing, usually on features of the images that the network has
learnt. ``mode="residual"`` starts them from the network's own calibrated answer and
lets them earn their place on images that the network has not seen. Where there is
nothing to gain, no tree grows, and the answer is the calibrated softmax.
"""

import matplotlib.pyplot as plt

from cnnboost import BoostClassifier, CNNClassifier, HybridClassifier, load_images
from cnnboost.metrics import compare_predictions, score_predictions

images = load_images("digits", validation_fraction=0.5, cache=False)
X, y, new = images.train.X, images.train.labels, images.validation
learnt, fresh = slice(0, 600), slice(600, None)
cnn = CNNClassifier("digits", epochs=6).fit(X[learnt], y[learnt])

# %%
# The same network, the same kind of trees; what differs is where they start and on which
# images they are fitted.
trees = BoostClassifier(n_estimators=60, max_depth=2, learning_rate=0.1, colsample_bytree=0.3)
answers = {"softmax": cnn.predict_proba(new.X)}
for mode, name, rows in (
    ("plain", "plain, on images it has learnt", learnt),
    ("plain", "plain, on fresh images", fresh),
    ("blend", "blend, on fresh images", fresh),
    ("residual", "residual, on fresh images", fresh),
):
    hybrid = HybridClassifier(cnn, layer="fc1", mode=mode, boost=trees).fit(X[rows], y[rows])
    answers[name] = hybrid.predict_proba(new.X)

# %%
# Accuracy with its 95 % interval, log-loss, and McNemar's exact p of the difference to
# the softmax.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
for row, (name, probabilities) in enumerate(answers.items()):
    scores = score_predictions(new.labels, probabilities, classes=images.classes)
    accuracy, (low, high) = scores.accuracy.value, scores.accuracy.interval
    left.errorbar(accuracy, row, xerr=[[accuracy - low], [high - accuracy]], fmt="o", capsize=4)
    right.plot(scores.log_loss.value, row, "o")
    if row:
        found = compare_predictions(new.labels, answers["softmax"], probabilities, classes=images.classes)
        print(f"{name}: {100 * found.difference:+.2f} points to the softmax, p = {found.p_value:.2g}")
left.set(yticks=range(len(answers)), yticklabels=list(answers), xlabel="accuracy")
left.invert_yaxis()
right.set(xlabel="log-loss")
plt.show()
