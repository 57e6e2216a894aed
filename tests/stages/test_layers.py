"""Listing layers: of the architecture alone."""

import keras
import pytest

from cnnboost import stages
from cnnboost.config import load_recipe
from cnnboost.errors import DataError


@pytest.fixture
def nothing_is_trained(monkeypatch):
    """Leave no training and no weights to fetch."""

    def never(*args, **kwargs):
        raise AssertionError("it trains or fetches")

    monkeypatch.setattr(keras.Model, "fit", never)
    monkeypatch.setattr(keras.utils, "get_file", never)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", never)
    monkeypatch.delenv("CNNBOOST_DATA", raising=False)


def widths(name, tmp_path, overrides=(), **options):
    job = stages.Job(recipe=load_recipe(name, overrides), models=tmp_path, **options)
    return {layer["name"]: layer["width"] for layer in stages.layers_of(job)}


@pytest.mark.usefixtures("nothing_is_trained")
class TestOfTheArchitectureAlone:
    def test_a_network_of_fetched_weights(self, tmp_path):
        """What depends on the number of classes is left open; the rest is not."""
        found = widths("hust_vgg19", tmp_path)
        assert (found["flatten"], found["output"]) == (512, None)
        assert found["input"] == 48 * 48
        assert not list(tmp_path.iterdir())

    def test_classes_that_are_stated(self, tmp_path):
        for overrides, n in (
            (['data.classes=["a", "b", "c", "d"]'], 4),
            (['data.classes=["a", "b", "c", "d"]', 'data.drop=["b"]'], 3),
            (["data.binary=a"], 2),
        ):
            assert widths("oslo", tmp_path, overrides)["output"] == n

    def test_classes_of_the_images(self, tmp_path, face_folder):
        assert widths("oslo", tmp_path, data=face_folder)["output"] == 3

    def test_a_size_that_nothing_states(self, tmp_path):
        recipe = tmp_path / "any.toml"
        recipe.write_text("[data]\nchannels = 1\n")
        with pytest.raises(
            DataError, match=r"does not state data\.size, .*--set data\.size=\.\.\., or images"
        ):
            widths(str(recipe), tmp_path)
