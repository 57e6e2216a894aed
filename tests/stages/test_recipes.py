from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnnboost import stages
from cnnboost.config import load_recipe, packaged
from cnnboost.stages.job import SMOKE_IMAGES

#: What a recipe needs that a test has not: weights that are downloaded, images enough for three folds.
OVERRIDES = {"hust_vgg19": ["cnn.options.weights=none"], "fer2013_bagged": ["hybrid.folds=2"]}


@pytest.fixture(scope="module")
def affectnet_folder(tmp_path_factory):
    """Return RGB images in the layout of AffectNet, contempt among the classes."""
    root = tmp_path_factory.mktemp("affectnet") / "data"
    rng = np.random.default_rng(0)
    for split, n in (("train", 8), ("val", 4)):
        for code, name in enumerate(("anger", "contempt", "happy", "neutral")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(50 * code, 50 * code + 80, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return root


#: Networks whose graphs take long to trace, and recipes that change only values of another one's. What
#: `fer2013` is made of is tried on small networks in `test_distillation.py` and `test_networks.py`.
SLOW = (
    "fer2013", "fer2013_bagged", "fer2013_fast", "fer2013_teacher", "hust_vgg19", "imperial_cifar_overfit",
    "imperial_mlp_keras_decay", "oslo_pixels", "ubi_affectnet", "ubi_baseline", "ubi_scaled_down",
    "uniandes_binary_steps",
)  # fmt: skip
RECIPES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in sorted(packaged())]


@pytest.mark.parametrize("name", RECIPES)
def test_smoke(name, face_folder, affectnet_folder, tmp_path):
    recipe = load_recipe(name, OVERRIDES.get(name, []))
    data = recipe.data.source or (affectnet_folder if name == "ubi_affectnet" else face_folder)
    job = stages.Job(recipe=recipe, data=data, models=tmp_path / "models", reports=tmp_path / "reports")
    metrics = stages.evaluate(stages.smoke(job)).document
    assert metrics["recipe"] == f"{name}-smoke"
    assert metrics["cnn"]["epochs"] == 1
    assert metrics["images"]["train"] <= SMOKE_IMAGES * len(metrics["classes"])
    heads = list(recipe.cut.layers)
    if recipe.hybrid.mode != "plain":
        heads.append("+".join(recipe.hybrid.layers))
    assert [head["layer"] for head in metrics["heads"]] == heads
    assert "contempt" not in metrics["classes"]
    if recipe.data.binary:
        assert metrics["classes"] == ["not happy", "happy"]
    for row in (metrics["cnn"], *metrics["heads"]):
        assert 0 <= row["scores"]["accuracy"]["value"] <= 1
        assert np.isfinite(row["scores"]["log_loss"]["value"])


@pytest.mark.fer2013
def test_fer2013_walks_the_line(fer2013, tmp_path):
    job = stages.Job(recipe=load_recipe("oslo"), data=fer2013, models=tmp_path, reports=tmp_path)
    metrics = stages.evaluate(stages.smoke(job), ["fc1"]).document
    assert metrics["images"] == {"train": 24 * 7, "validation": 24 * 7}
    assert metrics["published"]["cnn"] == 0.569
