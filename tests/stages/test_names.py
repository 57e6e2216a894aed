import logging
from dataclasses import replace

import pytest

from cnnboost import stages
from cnnboost.errors import DeviceError, LayerError, ModelError, ParameterError, RecipeError


@pytest.fixture
def fresh(job, tmp_path):
    """Return a job of which nothing is done yet."""
    return replace(job, models=tmp_path / "fresh")


ACTIONS = {
    "extract": lambda job: stages.extract(job, ["fcl"]),
    "fit_boost": lambda job: stages.fit_boost(job, "fcl"),
    "residual": lambda job: stages.fit_hybrid(job, ["fc1", "fcl"], mode="residual"),
    "evaluate": lambda job: stages.evaluate(job, ["fcl"]),
    "evaluate in a mode": lambda job: stages.evaluate(job, ["fcl"], modes=["blend"]),
    "export": lambda job: stages.export(job, "fcl"),
    "repeat": lambda job: stages.repeat(job, 2, ["fcl"]),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_an_unknown_layer_is_refused_before_anything_is_trained(action, fresh, caplog):
    caplog.set_level(logging.INFO, "cnnboost")
    with pytest.raises(LayerError, match=r"'fcl'.*Did you mean 'fc.'.*fc2 \(12\)"):
        ACTIONS[action](fresh)
    assert "train '" not in caplog.text
    assert not list(fresh.models.rglob("*.keras"))


@pytest.mark.parametrize(
    ("tables", "error", "words"),
    [
        ({"cnn": {"architecture": "olso"}}, ModelError, "did you mean 'oslo'"),
        ({"cnn": {"options": {"filtres": [8]}}}, ModelError, "'filtres'"),
        ({"cnn": {"optimizer": "adm"}}, ParameterError, "'adm'"),
        ({"cnn": {"augment": {"flop": 0.5}}}, ParameterError, "'flop'"),
        (
            {"cnn": {"class_weight": {"11": 2.0}}},
            RecipeError,
            r"\[cnn\] class_weight names an unknown class '11'",
        ),
        (
            {"boost": {"class_weight": {"11": 2.0}}},
            RecipeError,
            r"\[boost\] class_weight names an unknown class '11'",
        ),
        ({"hybrid": {"boost": {"class_weight": {"11": 2.0}}}}, RecipeError, r"hybrid\.boost"),
        ({"boost": {"xgb_params": {"max_leafs": 3}}}, ParameterError, "'max_leaves'"),
        ({"boost": {"device": "gpu"}}, DeviceError, "'gpu'"),
        ({"hybrid": {"augment": {"flop": 0.5}}}, ParameterError, "'flop'"),
        ({"cut": {"layers": ("fc1", "fc9")}}, LayerError, "'fc9'"),
    ],
)
def test_unknown_names_in_a_recipe_are_refused_before_anything_is_trained(
    tables, error, words, fresh, change, caplog
):
    caplog.set_level(logging.INFO, "cnnboost")
    with pytest.raises(error, match=words):
        stages.evaluate(change(fresh, **tables))
    assert "train '" not in caplog.text
    assert not list(fresh.models.rglob("*.keras"))


def test_what_is_right_passes(job, toy_file):
    stages.names.check_names(job, ["fc1", "output"], tta="flip", device="cpu")
    stages.names.check_names(replace(job, model=toy_file), ["flatten"])
