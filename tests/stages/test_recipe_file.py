import os
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnboost import stages
from cnnboost.config import load_recipe
from cnnboost.errors import DataError, ParameterError, RecipeError
from cnnboost.stages.recipe_file import recipe_text, write_recipe
from cnnboost.stages.recipe_for import Glance, of_images

SPLITS = ("train", "validation", "test")
names = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8)


def photographs(root, counts, splits=("",), shape=(20, 30, 3)):
    rng = np.random.default_rng(0)
    for split in splits:
        for name, n in counts.items():
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(root / split / name / f"{i}.png")
    return root


def test_the_file_is_the_recipe_that_images_have_without_one(tmp_path, monkeypatch):
    photographs(tmp_path / "pets", {"cat": 3, "dog": 3})
    monkeypatch.chdir(tmp_path)
    made = write_recipe("pets")
    assert made.path.name == "pets.toml"
    read, alone = load_recipe("pets.toml"), stages.recipe_for("pets")
    for table in ("cnn", "cut", "boost"):
        assert getattr(read, table) == getattr(alone, table), table
    assert (read.data.size, read.data.channels, read.data.validation_fraction) == ((20, 30), 3, 0.2)
    assert read.name == alone.name
    assert read.source == "pets"


def test_images_are_found_from_any_folder(tmp_path, monkeypatch):
    photographs(tmp_path / "pets", {"cat": 3, "dog": 3})
    (tmp_path / "recipes").mkdir()
    made = write_recipe(tmp_path / "pets", tmp_path / "recipes" / "mine.toml")
    assert tomllib.loads(made.path.read_text())["data"]["source"] == "../pets"
    monkeypatch.chdir("/")
    assert (tmp_path / "pets").samefile(load_recipe(made.path).source)


def test_a_url_is_stated_as_it_is(tmp_path):
    system = pytest.importorskip("fsspec").filesystem("memory")
    for path in photographs(tmp_path / "pets", {"cat": 3, "dog": 3}).rglob("*.png"):
        system.pipe(f"/init/pets/{path.parent.name}/{path.name}", path.read_bytes())
    made = write_recipe("memory://init/pets", tmp_path / "mine.toml")
    assert tomllib.loads(made.path.read_text())["data"]["source"] == "memory://init/pets"
    assert load_recipe(made.path).source == "memory://init/pets"
    assert 'source = "memory://init/pets"  # a URL' in made.path.read_text()
    system.rm("/init", recursive=True)


def test_splits_and_uneven_classes_are_told(tmp_path):
    made = write_recipe(photographs(tmp_path / "a", {"x": 2, "y": 6}, SPLITS), tmp_path / "a.toml")
    text = made.path.read_text()
    assert "# validation_fraction = 0.2  # the source has a validation split" in text
    assert '# class_weight = "balanced"  # the largest class has 3.0 times' in text
    other = write_recipe(photographs(tmp_path / "b", {"x": 4, "y": 5}), tmp_path / "b.toml").path.read_text()
    assert "\nvalidation_fraction = 0.2  #" in other
    assert "class_weight" not in other


def test_every_line_that_is_commented_out_is_valid(tmp_path):
    made = write_recipe(photographs(tmp_path / "a", {"x": 2, "y": 6}), tmp_path / "a.toml")
    lines = made.path.read_text().splitlines()
    used = [line.removeprefix("# ") if line.startswith("# ") and " = " in line else line for line in lines]
    used = ["[hybrid]" if line == "# [hybrid]" else line for line in used]
    assert used != lines
    made.path.write_text("\n".join(used))
    recipe = load_recipe(made.path)
    assert (recipe.hybrid.mode, recipe.cnn.class_weight, recipe.data.classes) == (
        "residual",
        "balanced",
        ("x", "y"),
    )


@settings(deadline=None)  # the first example imports what the others find imported
@given(classes=st.lists(names, min_size=2, max_size=4, unique=True), folder=names)
def test_any_name_comes_back(classes, folder):
    found = Glance(40, 40, dict.fromkeys(classes, 20), (10, 12), False, ("train",))
    text = recipe_text(of_images("digits", found), found, folder)
    assert tomllib.loads(text)["data"]["source"] == folder
    commented = next(line for line in text.split("\n") if line.startswith("# classes = "))
    assert tomllib.loads(commented[2:])["classes"] == classes


def test_a_file_that_is_there_stays(tmp_path):
    target = tmp_path / "mine.toml"
    target.write_text("mine")
    with pytest.raises(ParameterError, match=r"mine\.toml exists; --force"):
        write_recipe("digits", target)
    assert target.read_text() == "mine"
    assert write_recipe("digits", target, force=True).recipe.data.source == "digits"
    with pytest.raises(ParameterError, match="is a folder; name the file"):
        write_recipe("digits", tmp_path)


def test_what_cannot_be_a_recipe_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        write_recipe("digit", tmp_path / "a.toml")
    with pytest.raises(RecipeError, match="name"):
        write_recipe("digits", tmp_path / "my recipe.toml")
    assert not list(tmp_path.iterdir())
    root = photographs(tmp_path / os.fsdecode(b"caf\xe9"), {"x": 2, "y": 2})
    with pytest.raises(ParameterError, match="is not UTF-8"):
        write_recipe(root, tmp_path / "a.toml")
