"""
Your own photographs
====================

A folder for each class is all it takes. Without an argument, the script draws its own
"photographs": coloured circles, squares and triangles on noise.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw
from sklearn.metrics import ConfusionMatrixDisplay

from cnnboost import BoostClassifier, CNNClassifier, HybridClassifier, load_images


def draw_shapes(folder: Path, n: int = 60) -> Path:
    """Draw n pictures of each shape, 96 x 64 pixels."""
    rng = np.random.default_rng(0)
    for sides, name in ((0, "circle"), (3, "triangle"), (4, "square")):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            picture = Image.fromarray(rng.normal(120, 15, (64, 96, 3)).clip(0, 255).astype(np.uint8))
            pen, colour = ImageDraw.Draw(picture), tuple(rng.integers(0, 256, 3).tolist())
            circle = (rng.uniform(30, 66), rng.uniform(26, 38), rng.uniform(16, 24))
            if sides:
                pen.regular_polygon(circle, sides, rotation=float(rng.uniform(0, 90)), fill=colour)
            else:
                pen.circle(circle[:2], circle[2], fill=colour)
            picture.save(folder / name / f"{i}.png")
    return folder


# %%
# Read, train, boost
# ------------------
# Colour stays colour, every picture is brought to one size, a quarter of each class is
# held out.
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else draw_shapes(Path(tempfile.mkdtemp()) / "shapes")
images = load_images(folder, size=(32, 48), channels=3, validation_fraction=0.25, cache=False)
cnn = CNNClassifier(
    "vgg", model_options={"filters": [16, 32, 64], "convolutions": [1, 1, 1]}, epochs=25, batch_size=16
)
cnn.fit(images.train.X, images.train.labels)
hybrid = HybridClassifier(cnn, layer="flatten", boost=BoostClassifier(n_estimators=40, max_depth=3))
hybrid.fit(images.train.X, images.train.labels)

# %%
# Side by side, on pictures that neither has seen
# -----------------------------------------------
X, labels = images.validation.X, images.validation.labels
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, (name, classifier) in zip(axes, {"CNN": cnn, "CNN + XGBoost": hybrid}.items(), strict=True):
    ConfusionMatrixDisplay.from_estimator(classifier, X, labels, ax=ax, colorbar=False, cmap="Blues")
    ax.set_title(f"{name}: {classifier.score(X, labels):.1%} of {len(X)} right")
plt.show()
