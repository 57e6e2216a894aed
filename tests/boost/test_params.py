from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from cnnboost.boost import BoostClassifier, params, resolve_device
from cnnboost.boost.params import count_threads
from cnnboost.errors import CnnboostError, DeviceError, ParameterError


def fit(features, numbers, **parameters):
    return BoostClassifier(**{"n_estimators": 2, "max_depth": 2, "n_jobs": 1, **parameters}).fit(
        features, numbers
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_estimators", 0),
        ("n_estimators", True),
        ("n_estimators", "3"),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("subsample", np.float32(1.01)),
        ("reg_lambda", float("inf")),
        ("reg_alpha", "much"),
        ("max_bin", 1),
        ("early_stopping_rounds", np.int64(0)),
        ("validation_fraction", 0),
        ("n_jobs", 0),
        ("n_jobs", "all"),
        ("xgb_params", ["max_leaves"]),
    ],
)
def test_an_impossible_value_is_refused_by_name(features, numbers, name, value):
    with pytest.raises(ParameterError, match=name) as caught:
        fit(features, numbers, **{name: value})
    assert isinstance(caught.value, CnnboostError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("objective", "always multi:softprob"),
        ("num_class", "use classes="),
        ("tree_method", "always hist"),
        ("device", "use device="),
        ("gpu_id", "use device='cuda:N'"),
        ("eval_metric", "always mlogloss"),
        ("eta", "use learning_rate="),
        ("max_depth", "use max_depth="),
        ("seed", "use random_state="),
        ("nthread", "use n_jobs="),
        ("max_leafs", "did you mean 'max_leaves'"),
        ("scale_pos_weight", "does not use"),
        ("num_feature", "does not use"),
        ("learner", "does not use"),
    ],
)
def test_a_further_parameter_that_would_be_ignored_or_doubled_is_refused(features, numbers, key, remedy):
    with pytest.raises(ParameterError, match=remedy) as caught:
        fit(features, numbers, xgb_params={key: 1})
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize(
    ("further", "complaint"),
    [
        ({"max_leaves": -3}, "max_leaves"),
        ({"grow_policy": "widest"}, "widest"),
        ({"booster": "gblinear"}, "the head is trees"),
        ({"interaction_constraints": [["f0", "eye"]]}, "Constrained features"),
    ],
)
def test_a_further_parameter_with_an_impossible_value_is_refused(features, numbers, further, complaint):
    with pytest.raises(ParameterError, match=complaint) as caught:
        fit(features, numbers, xgb_params=further)
    assert "Stack trace" not in str(caught.value)


def test_dart_cannot_stop_early(features, numbers):
    with pytest.raises(ParameterError, match=r"booster='dart'.*early_stopping_rounds=None"):
        fit(features, numbers, xgb_params={"booster": "dart"}, early_stopping_rounds=3)


@pytest.mark.parametrize(
    "further",
    [
        {"colsample_bynode": 0.5, "max_delta_step": 1},
        {"grow_policy": "lossguide", "max_leaves": 3},
        {"booster": "dart", "rate_drop": 0.5},
        {"num_parallel_tree": 2},
        {"monotone_constraints": (1, 0, 0, 0, 0, -1)},
        {"interaction_constraints": "[[0, 1], [2, 3, 4, 5]]"},
        {"base_score": 0.5},
    ],
)
def test_further_parameters_reach_xgboost_quietly(features, numbers, further, recwarn, capfd):
    given = copy.deepcopy(further)
    head = fit(features, numbers, xgb_params=given, subsample=0.9)
    assert given == further
    assert head.xgb_params is given
    assert not np.array_equal(
        head.predict_proba(features), fit(features, numbers, subsample=0.9).predict_proba(features)
    )
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")
    assert np.allclose(head.predict_proba(features).sum(axis=1), 1, atol=1e-6)


def test_an_integer_seed_is_xgboosts_seed_and_a_generator_moves_on(features, numbers):
    numpy = {"n_estimators": np.int64(3), "learning_rate": np.float32(0.5)}
    assert fit(features, numbers, random_state=11, **numpy).seed_ == 11
    generator = np.random.RandomState(3)
    seeds = {fit(features, numbers, random_state=generator).seed_ for _ in range(3)}
    assert len(seeds) == 3
    assert fit(features, numbers, random_state=np.random.RandomState(3)).seed_ in seeds
    with pytest.raises(ValueError, match="wrong"):
        fit(features, numbers, random_state="wrong")


@pytest.mark.parametrize(
    ("n_jobs", "cells", "cores", "threads"),
    [
        (None, None, "4", 0),
        (None, 50, "4", 1),
        (None, 250_000, "4", 2),
        (None, 400_000, "4", 0),
        (None, 250_000, "2,1", 0),
        (3, 50, "4", 3),
    ],
)
def test_few_cells_take_few_threads(n_jobs, cells, cores, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    assert count_threads(n_jobs, cells) == threads


def test_a_head_predicts_with_all_cores_though_few_rows_trained_it(features, numbers):
    head = fit(features, numbers, n_jobs=None)
    assert json.loads(head.booster_.save_config())["learner"]["generic_param"]["nthread"] == "0"


# Device

HAS_GPU = resolve_device("auto") != "cpu"
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="no GPU that XGBoost can use")
without_gpu = pytest.mark.skipif(HAS_GPU, reason="there is a GPU")


@pytest.fixture
def fresh_probe():
    params._probe.cache_clear()
    yield
    params._probe.cache_clear()


def test_auto_is_quiet_and_names_a_real_device(fresh_probe, recwarn, capfd):
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda:0")
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


@without_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_demanded_gpu_that_is_absent_is_an_error(name, features, emotions):
    with pytest.raises(DeviceError, match=rf"{name}.*no usable GPU.*device='auto' or 'cpu'"):
        BoostClassifier(n_estimators=2, device=name).fit(features, emotions)


@needs_gpu
def test_trees_grow_on_a_demanded_gpu(features, emotions, recwarn):
    head = BoostClassifier(n_estimators=3, device="cuda").fit(features, emotions)
    assert head.device_ == "cuda:0"
    assert head.predict_proba(features).shape == (300, 3)
    assert not [warning for warning in recwarn.list if "mismatched devices" in str(warning.message)]


@needs_gpu
def test_a_gpu_number_that_is_not_there_is_an_error():
    with pytest.raises(DeviceError, match="cuda:99"):
        resolve_device("cuda:99")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("gpu_hist", "use device='cuda'"),
        ("gpu", "use device='cuda'"),
        ("tpu", "auto, cpu, cuda, cuda:N"),
        ("cuda:x", "auto, cpu, cuda, cuda:N"),
        ("", "auto, cpu, cuda, cuda:N"),
        (None, "auto, cpu, cuda, cuda:N"),
    ],
)
def test_an_unknown_name_is_refused_with_the_remedy(name, remedy):
    with pytest.raises(DeviceError, match=remedy) as caught:
        resolve_device(name)
    assert repr(name) in str(caught.value)
    assert isinstance(caught.value, CnnboostError)
    assert isinstance(caught.value, RuntimeError)


def fail(*args, **kwargs):
    import xgboost

    raise xgboost.core.XGBoostError("no kernel image is available\nStack trace:\n ...")


@pytest.mark.parametrize(
    ("cuda", "words"),
    [(False, "was built without CUDA"), (True, r"cannot work on it: no kernel image is available;")],
)
def test_a_gpu_that_cannot_be_used_is_not_taken(fresh_probe, monkeypatch, xgboost, cuda, words):
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": cuda})
    monkeypatch.setattr(xgboost, "train", fail)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(DeviceError, match=words):
        resolve_device("cuda")


def test_a_gpu_of_another_number_is_not_taken_instead(fresh_probe, monkeypatch, xgboost):
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": True})
    monkeypatch.setattr(params, "used_device", lambda booster: "cuda:0")
    assert resolve_device("auto") == "cuda:0"
    assert resolve_device("cuda") == "cuda:0"
    assert resolve_device("cuda:0") == "cuda:0"
    with pytest.raises(DeviceError, match=r"'cuda:3'.*would take cuda:0"):
        resolve_device("cuda:3")
