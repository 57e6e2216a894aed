"""
Several machines: trees that grow on a Dask cluster
===================================================

The workers of a Dask cluster grow one set of trees together. Each reads an equal share of
the rows, from features in a folder that all of them see, and nobody holds all of them.
Here two workers are processes of this machine; on others ``dask worker`` starts them, and
`Client` takes the address of their scheduler. It needs ``pip install 'cnnboost[dask]'``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from distributed import Client, SubprocessCluster
from sklearn.frozen import FrozenEstimator

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures, FeatureParts, load_images

images = load_images("digits", validation_fraction=0.4, cache=False)
train, new = images.train, images.validation
cnn = CNNClassifier("digits", epochs=3).fit(train.X, train.labels)
features = CNNFeatures(FrozenEstimator(cnn), layer="fc1").fit(train.X)

# %%
# Features in parts
# -----------------
# Four files for training, two to watch the trees by. ``cnnboost extract --dask ADDRESS``
# has the workers make such parts, each of what it decodes itself.
folder = Path(tempfile.mkdtemp())
parts = {}
for split, n in ((train, 4), (new, 2)):
    files = [folder / f"{split.name}-{number}.npy" for number in range(n)]
    for file, pixels in zip(files, np.array_split(split.X, n), strict=True):
        np.save(file, features.transform(pixels))
    parts[split.name] = FeatureParts.open(files)

# %%
# One machine, and two workers
# ----------------------------
# Trees depend a little on how many workers share the rows; their accuracy does not.
boost = BoostClassifier(n_estimators=30, max_depth=3, max_bin=32)
watched = {"validation_data": (parts["validation"], new.labels)}
options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
with SubprocessCluster(**options) as cluster, Client(cluster) as client:
    together = boost.fit(parts["train"], train.labels, **watched, client=client)
alone = BoostClassifier(**boost.get_params()).fit(parts["train"], train.labels, **watched)

figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for name, fitted, line in (("one process", alone, "-"), ("two workers", together, "--")):
    accuracy = fitted.score(parts["validation"], new.labels)
    losses = fitted.evals_result_["validation"]["mlogloss"]
    ax.plot(losses, line, label=f"{name}: {accuracy:.1%} of {len(new)} right")
ax.set(xlabel="round", ylabel="log-loss on new images", yscale="log")
ax.legend()
plt.show()
