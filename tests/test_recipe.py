import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.errors import RecipeError
from cnnboost.recipe import Recipe, load_recipe, packaged


@pytest.mark.parametrize("name", sorted(packaged()))
def test_every_packaged_recipe_is_valid(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.title


def test_the_default_needs_no_data():
    assert load_recipe().name == "digits"
    assert load_recipe().data.source == "digits"


def test_oslo_states_what_was_published():
    recipe = load_recipe("oslo")
    assert (recipe.cnn.epochs, recipe.cnn.batch_size, recipe.cnn.learning_rate) == (50, 64, 1e-3)
    assert recipe.cnn.options["filters"] == [32, 64, 64]
    assert recipe.evaluate.published.layers["fc1"] == 0.5520


def test_a_file_takes_its_name_unless_it_states_one(tmp_path):
    (tmp_path / "mine.toml").write_text("[cnn]\nepochs = 3\n")
    assert load_recipe(tmp_path / "mine.toml").name == "mine"
    (tmp_path / "mine.toml").write_text('name = "other"')
    assert load_recipe(tmp_path / "mine.toml").name == "other"


def test_overrides_stand_over_the_file():
    recipe = load_recipe(
        "digits", ["cnn.epochs=5", "cnn.options.dropout = 0.1", "cnn.optimizer=sgd", "data.size=[9, 8]"]
    )
    assert (recipe.cnn.epochs, recipe.cnn.options, recipe.cnn.optimizer) == (5, {"dropout": 0.1}, "sgd")
    assert recipe.data.size == (9, 8)
    assert load_recipe("digits").cnn.epochs != 5


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe().cnn.epochs = 3


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_the_digest_is_that_of_the_facts(a, b):
    one, other = (Recipe(name="x", cnn={"epochs": epochs}) for epochs in (a, b))
    assert (one.digest("cnn") == other.digest("cnn")) == (a == b)
    assert one.digest("boost") == other.digest("boost")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cnn.epohs=5", ["epohs", "did you mean 'epochs'", "batch_size"]),
        ("tpyo.x=1", ["tpyo", "boost"]),
        ("evaluate.published.cn=1", ["[evaluate.published] cn", "did you mean 'cnn'"]),
        ("cnn.epochs=0", ["[cnn] epochs = 0", "greater than or equal to 1"]),
        ("cnn.learning_rate=-1", ["[cnn] learning_rate = -1"]),
        ("boost.subsample=1.5", ["[boost] subsample = 1.5"]),
        ("data.channels=2", ["[data] channels = 2", "1 or 3"]),
        ("cut.layers=[]", ["at least one layer"]),
        ("evaluate.split=train", ["'train'", "'test' or 'validation'"]),
        ("name=../up", ["'../up'"]),
        ("cnn=3", ["cnn = 3"]),
        ("cnn.epochs", ["table.key=value"]),
        ("name.x=3", ["'name' is no table"]),
    ],
)
def test_unknown_keys_and_impossible_values_are_named(override, words):
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", [override] if not override.startswith("name.") else ["name=a", override])
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[cnn\n", ["no valid TOML", "line 1"]), (b"\xff\xfe", ["no valid TOML"])],
)
def test_a_broken_file_is_named(tmp_path, content, words):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert all(word in str(caught.value) for word in [str(path), *words])


def test_a_recipe_that_is_not_there_is_guessed(tmp_path):
    with pytest.raises(RecipeError, match=r"Did you mean 'oslo'.*digits"):
        load_recipe("olso")
    with pytest.raises(RecipeError, match="a folder"):
        load_recipe(tmp_path)
