import logging
from dataclasses import replace

import pytest

from cnnboost import line
from cnnboost.errors import DeviceError, LayerError, ModelError, ParameterError, RecipeError


@pytest.fixture
def fresh(job, tmp_path):
    """Return a job of which nothing is done yet."""
    return replace(job, models=tmp_path / "fresh")


ACTIONS = {
    "extract": lambda job: line.extract(job, ["fcl"]),
    "fit_boost": lambda job: line.fit_boost(job, "fcl"),
    "residual": lambda job: line.fit_hybrid(job, ["fc1", "fcl"], mode="residual"),
    "evaluate": lambda job: line.evaluate(job, ["fcl"]),
    "evaluate in a mode": lambda job: line.evaluate(job, ["fcl"], modes=["blend"]),
    "export": lambda job: line.export(job, "fcl"),
    "repeat": lambda job: line.repeat(job, 2, ["fcl"]),
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
        ({"cnn": {"class_weight": {"11": 2.0}}}, RecipeError, r"\[cnn\] class_weight names '11'"),
        ({"boost": {"class_weight": {"11": 2.0}}}, RecipeError, r"\[boost\] class_weight names '11'"),
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
        line.evaluate(change(fresh, **tables))
    assert "train '" not in caplog.text
    assert not list(fresh.models.rglob("*.keras"))


def test_what_is_right_passes(job, toy_file):
    line.names.check_names(job, ["fc1", "output"], modes=["blend"], tta="flip", device="cpu")
    line.names.check_names(replace(job, model=toy_file), ["flatten"])
