from __future__ import annotations

import pytest

from cnnboost.boost import BoostClassifier, device, resolve_device
from cnnboost.errors import CnnboostError, DeviceError

HAS_GPU = resolve_device("auto") != "cpu"
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="no GPU that XGBoost can use")
without_gpu = pytest.mark.skipif(HAS_GPU, reason="there is a GPU")


@pytest.fixture
def fresh_probe():
    device._probe.cache_clear()
    yield
    device._probe.cache_clear()


def test_cpu_is_taken_at_its_word():
    assert resolve_device("cpu") == "cpu"


def test_auto_is_quiet_and_names_a_real_device(fresh_probe, recwarn, capfd):
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


def test_a_build_without_cuda_says_so(fresh_probe, monkeypatch, xgboost):
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": False})
    assert resolve_device("auto") == "cpu"
    with pytest.raises(DeviceError, match="was built without CUDA"):
        resolve_device("cuda")


def test_a_gpu_that_fails_is_not_usable(fresh_probe, monkeypatch, xgboost):
    def fail(*args, **kwargs):
        raise xgboost.core.XGBoostError("no kernel image is available\nStack trace:\n ...")

    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": True})
    monkeypatch.setattr(xgboost, "train", fail)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(DeviceError, match=r"cannot work on it: no kernel image is available;"):
        resolve_device("cuda")


def test_a_gpu_of_another_number_is_not_taken_instead(fresh_probe, monkeypatch, xgboost):
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": True})
    monkeypatch.setattr(device, "used_device", lambda booster: "cuda:0")
    assert resolve_device("auto") == "cuda:0"
    assert resolve_device("cuda") == "cuda:0"
    assert resolve_device("cuda:0") == "cuda:0"
    with pytest.raises(DeviceError, match=r"'cuda:3'.*would take cuda:0"):
        resolve_device("cuda:3")


def test_used_device_is_read_from_the_booster(features, numbers):
    head = BoostClassifier(n_estimators=1, device="cpu").fit(features, numbers)
    assert device.used_device(head.booster_) == "cpu" == head.device_
