"""What a recipe searches is checked before anything is trained; the packaged recipes search what they can."""

from __future__ import annotations

import itertools

import pytest

from cnnboost.cnn.architectures import build
from cnnboost.cnn.options import TrainingOptions
from cnnboost.config import Recipe, changed, load_recipe, packaged
from cnnboost.errors import RecipeError
from cnnboost.search import plan

SEARCHES = [
    (name, study)
    for name in sorted(packaged())
    for recipe in [load_recipe(name)]
    for study in [*([None] if recipe.search.space else []), *recipe.studies]
]


def recipe_of(**table):
    return Recipe(name="x", studies={"one": table})


@pytest.mark.parametrize(("name", "study"), SEARCHES)
def test_every_packaged_search_can_be_tried(name, study):
    planned = plan(load_recipe(name), study)
    assert planned.metadata.title or study is None
    assert planned.wanted <= planned.metadata.trials
    ends = [space.choices or (space.low, space.high) for space in planned.spaces.values()]
    small = planned.recipe.cnn.architecture in ("oslo", "digits", "linear", "imperial_cnn")
    built = set()
    for values in itertools.product(*ends):
        recipe = changed(planned.recipe, dict(zip(planned.spaces, values, strict=True)))
        metadata = recipe.cnn.model_dump(
            exclude={"architecture", "options", "class_weight", "validation_fraction"}
        )
        TrainingOptions(**metadata)
        if small and str(recipe.cnn.options) not in built:
            built.add(str(recipe.cnn.options))
            size = recipe.data.size
            build(recipe.cnn.architecture, (size, size, 1), 7, recipe.cnn.options)
    # A grid that stops before its end would be no grid.
    if planned.metadata.sampler == "grid":
        assert planned.wanted == len(list(itertools.product(*ends)))


def test_the_studies_that_oslo_and_hust_made_are_there():
    assert list(load_recipe("oslo").studies) == [
        "conv_layers",
        "filters",
        "kernel_size",
        "dropout",
        "pool_size",
        "first_dense",
        "second_dense",
        "training",
        "balancing",
    ]
    assert all(study.set["cnn.epochs"] == 10 for study in load_recipe("oslo").studies.values())
    assert plan(load_recipe("oslo"), "training").wanted == 125
    assert plan(load_recipe("hust_vgg19"), "batch_size").spaces["cnn.batch_size"].choices == (2, 32, 2048)


def test_the_short_search_of_ubi_has_the_space_of_the_long_one():
    recipe = load_recipe("ubi_scaled_down")
    assert recipe.studies["short"].space == recipe.search.space


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"space": {}}, ["searches nothing", "[studies.one.space]"]),
        ({"space": {"boost.max_dpeth": {"choices": [1]}}, "target": "fc1"}, ["did you mean 'max_depth'"]),
        ({"space": {"bost.gamma": {"choices": [1]}}, "target": "fc1"}, ["'bost'", "did you mean 'boost'"]),
        ({"space": {"boost.gamma": {"choices": [1]}}}, ["changes nothing", "'cnn'"]),
        ({"space": {"cut.layer": {"choices": ["fc1"]}}}, ["changes nothing", "cnn, data"]),
        ({"space": {"cnn": {"choices": [1]}}}, ["in full and in quotes"]),
        ({"space": {"cnn.epochs.x": {"choices": [1]}}}, ["[cnn] epochs = {'x': 1}"]),
        ({"space": {"cnn.augment.flip": {"choices": [0.5]}}, "set": {"cnn.augment": False}}, ["'augment'"]),
        ({"space": {"cnn.epochs": {"choices": [5, 0]}}}, ["[cnn] epochs = 0"]),
        ({"space": {"cnn.momentum": {"low": 0.5, "high": 1.5}}}, ["[cnn] momentum = 1.5"]),
        ({"space": {"cnn.decay": {"low": 0.0, "high": 0.5}}, "sampler": "grid"}, ["a grid needs choices"]),
        ({"space": {"cnn.seed": {"choices": [1]}}, "set": {"cnn.epohs": 3}}, ["did you mean 'epochs'"]),
        ({"space": {"cnn.seed": {"choices": [1]}}, "set": {"cnn": {"epochs": 3}}}, ["in full and in quotes"]),
    ],
)
def test_mistakes_are_named(table, words):
    with pytest.raises(RecipeError) as caught:
        plan(recipe_of(**table), "one")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_unknown_study_is_refused_with_what_there_is():
    with pytest.raises(RecipeError, match=r"'dropuot'; did you mean 'dropout'.*There are: balancing, conv"):
        plan(load_recipe("oslo"), "dropuot")
    with pytest.raises(RecipeError, match="It has none"):
        plan(load_recipe("uniandes_binary"), "dropout")
    with pytest.raises(RecipeError, match=r"or name a study\. There are: augmentation"):
        plan(load_recipe("hust_vgg19"))


def test_a_teacher_of_all_images_teaches_no_trial():
    space = {"cnn.epochs": {"choices": [1, 2]}}
    soft_targets = {"name": "x", "cnn": {"teacher": "teacher.npz"}}
    with pytest.raises(RecipeError, match=r'trials with \[search\.set\] "cnn\.teacher" = false'):
        plan(Recipe(**soft_targets, search={"space": space}))
    planned = plan(Recipe(**soft_targets, search={"space": space, "set": {"cnn.teacher": False}}))
    assert planned.recipe.cnn.teacher is None
