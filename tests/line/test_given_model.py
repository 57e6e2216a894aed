"""A model file that was given: what its input means for the images that are read."""

from dataclasses import replace

import keras
import pytest

from cnnboost import line
from cnnboost.errors import ModelError


def test_other_channels_than_those_of_pictures_are_refused(job, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.save(tmp_path / "four.keras")
    with pytest.raises(ModelError, match=r"four\.keras takes images of 4 channels"):
        line.extract(replace(job, model=tmp_path / "four.keras"), ["output"])


def test_a_model_of_images_without_channels_is_extracted(job, tmp_path):
    model = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.save(tmp_path / "flat.keras")
    found = line.extract(replace(job, model=tmp_path / "flat.keras"), ["output"])
    assert found["train"].stored["output"].spec.width == 10
