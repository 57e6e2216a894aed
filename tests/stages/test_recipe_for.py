import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnnboost.config import Recipe
from cnnboost.errors import DataError, ModelError, RecipeError
from cnnboost.stages import recipe_for
from cnnboost.stages.recipe_for import slug


def photographs(root, size=(128, 96), mode="RGB", n=3):
    """Class folders of random pixels; `size` is height and width."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(n):
            shape = (*size, 3) if mode == "RGB" else size
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(root / name / f"{i}.png")
    return root


def network(path, seed=0, shape=(32, 40, 3)):
    import keras

    keras.utils.set_random_seed(seed)
    layers = [keras.Input(shape), keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D()]
    layers += [keras.layers.Dense(2, "softmax")]
    path.parent.mkdir(exist_ok=True)
    keras.Sequential(layers).save(path)
    return path


class TestImages:
    def test_colour_photographs_stay_colour_photographs(self, tmp_path):
        found = recipe_for(photographs(tmp_path / "My pets"))
        assert (found.data.size, found.data.channels) == ((96, 72), 3)
        assert (found.cnn.architecture, found.cut.layers) == ("vgg", ("flatten", "fc1", "output"))
        assert (found.name, found.title) == ("My-pets", "My-pets")

    def test_small_grey_images_stay_small_and_grey(self, tmp_path):
        found = recipe_for(photographs(tmp_path / "signs", (12, 20), "L"))
        assert (found.data.size, found.data.channels) == ((12, 20), None)  # None: as they are
        assert (found.cnn.architecture, found.cut.layers) == ("digits", ("flatten", "fc1", "fc2", "output"))

    def test_one_image_in_colour_makes_the_set_one_in_colour(self, tmp_path):
        root = photographs(tmp_path / "mixed", (20, 20), "L")
        Image.new("RGB", (20, 20), (200, 10, 10)).save(root / "dog" / "2.png")
        assert recipe_for(root).data.channels == 3

    def test_the_size_is_the_median_and_bad_images_have_no_say(self, tmp_path):
        root = photographs(tmp_path / "sizes", (40, 30))
        Image.new("RGB", (900, 900)).save(root / "cat" / "large.png")
        (root / "cat" / "broken.png").write_bytes(b"\x89PNG")
        assert recipe_for(root).data.size == (40, 30)

    def test_fewer_images_have_more_epochs(self, tmp_path):
        assert recipe_for(photographs(tmp_path / "few", (20, 20))).cnn.epochs == 100
        X, y = np.zeros((3000, 4, 4), np.uint8), np.arange(3000) % 2
        np.savez(tmp_path / "many.npz", X=X, y=y)
        assert recipe_for(tmp_path / "many.npz").cnn.epochs == 20

    def test_overrides_stand_on_top(self, tmp_path):
        root = photographs(tmp_path / "pets", (40, 40))
        found = recipe_for(root, overrides=["data.size=32", "cnn.epochs=2", "name=mine"])
        assert (found.data.size, found.cnn.epochs, found.name) == (32, 2, "mine")
        assert recipe_for(root, overrides=["cnn.architecture=oslo"]).cut.layers[:3] == (
            "flatten",
            "fc1",
            "fc2",
        )
        asked = ["cnn.architecture=oslo", 'cut.layers=["output"]']
        assert recipe_for(root, overrides=asked).cut.layers == ("output",)
        with pytest.raises(RecipeError, match=r"--set cnn\.epohs=2"):
            recipe_for(root, overrides=["cnn.epohs=2"])
        with pytest.raises(ModelError, match="'olso'"):
            recipe_for(root, overrides=["cnn.architecture=olso"])

    def test_the_name_does_not_depend_on_the_working_folder(self, tmp_path, monkeypatch):
        root = photographs(tmp_path / "pets", (20, 20))
        names = {recipe_for(root).name}
        for folder, path in ((tmp_path, "pets/"), (root, "."), (root / "cat", "..")):
            monkeypatch.chdir(folder)
            names.add(recipe_for(path).name)
        assert names == {"pets"}

    def test_a_packaged_recipe_keeps_its_folder(self, tmp_path):
        assert recipe_for(photographs(tmp_path / "fer2013", (20, 20))).name == "fer2013-data"

    def test_images_that_cannot_be_used_are_named(self, tmp_path):
        (tmp_path / "bad" / "cat").mkdir(parents=True)
        (tmp_path / "bad" / "cat" / "0.png").write_bytes(b"\x89PNG")
        with pytest.raises(DataError, match=r"0\.png"):
            recipe_for(tmp_path / "bad")


class TestModel:
    def test_size_channels_and_layers_are_the_models(self, tmp_path):
        model, root = network(tmp_path / "m.keras"), photographs(tmp_path / "pets")
        found = recipe_for(root, model)
        assert (found.data.size, found.data.channels) == ((32, 40), 3)
        assert (found.cut.layers, found.cut.layer) == (("flatten", "output"), "flatten")
        assert found.title == "m on pets"

    def test_an_input_of_any_size_leaves_the_size_to_the_images(self, tmp_path):
        model, root = network(tmp_path / "m.keras", shape=(None, None, 3)), photographs(tmp_path / "pets")
        assert recipe_for(root, model).data.size == (96, 72)

    def test_a_network_without_a_named_layer_is_cut_at_its_last(self, tmp_path):
        import keras

        image = keras.Input((8, 8, 1))
        flat = keras.layers.Flatten(name="flat")(image)
        heads = [keras.layers.Dense(2, name=name)(flat) for name in ("age", "mood")]
        keras.Model(image, heads).save(tmp_path / "two.keras")
        found = recipe_for(None, tmp_path / "two.keras")
        assert found.cut.layers in {("age",), ("mood",)}
        assert found.cut.layers == (found.cut.layer,)

    def test_models_of_equal_name_have_folders_of_their_own(self, tmp_path, monkeypatch):
        paths = [network(tmp_path / folder / "m.keras", seed) for seed, folder in enumerate("ab")]
        one, other = (recipe_for(None, path).name for path in paths)
        assert one != other
        assert one.startswith("m-")
        monkeypatch.chdir(tmp_path / "a")
        assert recipe_for(None, "m.keras").name == one


@given(st.text(min_size=1))
def test_any_name_becomes_that_of_a_recipe(name):
    assert Recipe(name=slug(name)).name == slug(name)
    assert len(slug(name)) < 80


@pytest.mark.parametrize(("one", "other"), [("日本", "中国"), ("a" * 200, "a" * 199 + "b"), ("кот", "pes")])
def test_names_that_lose_letters_stay_apart(one, other):
    assert slug(one) != slug(other)
