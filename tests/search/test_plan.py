"""What a recipe searches is checked before anything is trained; the packaged recipes search what they can."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.cnn.architectures import build
from cnnboost.cnn.options import TrainingOptions
from cnnboost.config import Recipe, Space, changed, load_recipe, packaged
from cnnboost.errors import RecipeError
from cnnboost.search import plan
from cnnboost.search.plan import codes, decoded, grid_values

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
        "training_coarse",
        "grid_check",
        "balancing",
        "max_depth",
        "eta",
        "rounds",
        "reg_lambda",
        "gamma",
    ]
    studies = load_recipe("oslo").studies
    assert {name for name, study in studies.items() if "cnn.epochs" not in study.set} == {
        "grid_check", "max_depth", "eta", "rounds", "reg_lambda", "gamma"
    }  # fmt: skip
    # Those of trees share the network of the recipe, which is trained once for all of them.
    assert all(not study.set for study in studies.values() if study.target == "fc1")
    assert plan(load_recipe("oslo"), "training").wanted == 125
    assert plan(load_recipe("hust_vgg19"), "batch_size").spaces["cnn.batch_size"].choices == (2, 32, 2048)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"space": {}}, ["searches nothing", "[studies.one.space]"]),
        ({"space": {"boost.max_dpeth": {"choices": [1]}}, "target": "fc1"}, ["did you mean 'max_depth'"]),
        ({"space": {"bost.gamma": {"choices": [1]}}, "target": "fc1"}, ["'bost'", "did you mean 'boost'"]),
        ({"space": {"boost.gamma": {"choices": [1]}}}, ["changes no score", "'cnn'"]),
        ({"space": {"cut.layer": {"choices": ["fc1"]}}}, ["changes no score", "cnn, data"]),
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
    with pytest.raises(RecipeError, match=r"'dropuot'; did you mean 'dropout'.*Its studies: balancing, conv"):
        plan(load_recipe("oslo"), "dropuot")
    with pytest.raises(RecipeError, match="It has none"):
        plan(load_recipe("uniandes_binary"), "dropout")
    with pytest.raises(RecipeError, match=r"or name a study\. Its studies: augmentation"):
        plan(load_recipe("hust_vgg19"))


def test_a_teacher_of_all_images_teaches_no_trial():
    space = {"cnn.epochs": {"choices": [1, 2]}}
    soft_targets = {"name": "x", "cnn": {"teacher": "teacher.npz"}}
    with pytest.raises(RecipeError, match=r'trials with \[search\.set\] "cnn\.teacher" = false'):
        plan(Recipe(**soft_targets, search={"space": space}))
    planned = plan(Recipe(**soft_targets, search={"space": space, "set": {"cnn.teacher": False}}))
    assert planned.recipe.cnn.teacher is None


CHOICE = st.recursive(
    st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([0.0, 1.0, 1e-5])
    | st.sampled_from(["a", "[1]", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=4,
)


def text(value):
    return json.dumps(value, sort_keys=True)


@given(st.lists(CHOICE, min_size=1, max_size=6, unique_by=text))
def test_choices_come_back_as_they_were(choices):
    space = Space(choices=tuple(choices))
    stored = list(codes(space))
    assert len(stored) == len(choices)
    assert all(isinstance(code, (str, int, float, bool)) for code in stored)
    back = [decoded({"k": space}, {"k": code})["k"] for code in stored]
    assert [text(value) for value in back] == [text(choice) for choice in choices]
    # Also after the storage, which keeps them as JSON.
    assert [text(decoded({"k": space}, {"k": json.loads(json.dumps(c))})["k"]) for c in stored] == [
        text(choice) for choice in choices
    ]


def test_an_interrupted_trial_may_lack_keys():
    space = Space(choices=([1], [2]))
    assert decoded({"a": space, "b": space}, {"a": "[2]"}) == {"a": [2]}


@given(st.integers(0, 5), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_a_grid_over_whole_numbers_has_both_ends_that_fit(low, span, step):
    values = grid_values(Space(low=low, high=low + span, step=step))
    assert values == list(range(low, low + span + 1, step))
