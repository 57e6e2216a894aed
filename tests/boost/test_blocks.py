"""Trees of features on the disk: block by block, and from a cache of bins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost import BoostClassifier, FeatureParts
from cnnboost.boost.blocks import bins_cache, needed_cache
from cnnboost.boost.trees import Rows, grow_trees
from cnnboost.errors import DataError, DeviceError, FeatureError, ParameterError, StoreError
from tests.features.blocks import blocks_of
from tests.waiting import wait_until

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and limits")
OPTIONS = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1, "device": "cpu"}
EMOTIONS = np.array(["angry", "happy", "sad"])
BLOCK_ROWS = 250


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    with blocks_of(250 * 6 * 4):
        yield


@pytest.fixture(scope="module")
def rows():
    """1,200 rows of 6 features, three clusters that overlap, in no order."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 3, 1200)
    X = rng.normal(size=(3, 6))[codes] + rng.normal(scale=0.9, size=(1200, 6))
    return X.astype(np.float32), EMOTIONS[codes]


def parts_of(folder: Path, X: np.ndarray, cuts=(500, 900)) -> FeatureParts:
    paths = []
    for number, part in enumerate(np.split(X, sorted(cuts))):
        paths.append(folder / f"{number:03}.npy")
        np.save(paths[-1], part)
    return FeatureParts.open(paths)


def has_cache(X: FeatureParts, memory: str | int) -> bool:
    """Say whether the bins of such a fit go to the disk."""
    some = Rows(X, np.zeros(len(X), np.intp), None)
    return needed_cache(some, None, 3, 256, memory, "cpu") is not None


def trees(head: BoostClassifier) -> bytes:
    return bytes(head.booster_.save_raw("ubj"))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".npy")


def test_one_block_grows_the_trees_of_an_array(rows, tmp_path):
    X, y = rows
    weight = np.linspace(0.5, 1.5, len(X)).astype(np.float32)
    memory = BoostClassifier(**OPTIONS).fit(X, y, weight)
    codes = np.searchsorted(EMOTIONS, y)
    parameters = BoostClassifier(**OPTIONS).get_params()
    with blocks_of(X.nbytes):
        parts = parts_of(tmp_path, X)
        assert parts.n_blocks == 1
        assert trees(BoostClassifier(**OPTIONS).fit(parts, y, weight)) == trees(memory)
        # By way of the iterator too, which a single block otherwise does not take.
        raw = [
            bytes(grow_trees(parameters, Rows(of, codes, weight), None, 3, 0).booster.save_raw("ubj"))
            for of in (X, parts)
        ]
    assert raw[0] == raw[1] == trees(memory)


@given(cuts=st.lists(st.integers(0, 1200), max_size=5), block_rows=st.sampled_from([130, 400, 1199]))
@settings(max_examples=8, deadline=None)
def test_trees_and_predictions_do_not_depend_on_how_rows_lie_in_files(rows, cuts, block_rows):
    X, y = rows
    with tempfile.TemporaryDirectory() as name, blocks_of(block_rows * 6 * 4):
        (Path(name) / "one").mkdir()
        one = parts_of(Path(name) / "one", X, ())
        many = parts_of(Path(name), X, cuts)
        first, second = (BoostClassifier(**OPTIONS).fit(parts, y) for parts in (one, many))
        assert trees(first) == trees(second)
        proba = first.predict_proba(X)
        np.testing.assert_array_equal(second.predict_proba(many), proba)
        for start, block in many.blocks():
            np.testing.assert_array_equal(second.predict_proba(block), proba[start : start + len(block)])
        assert first.score(many, y) == first.score(X, y)


@pytest.mark.parametrize("memory", ["1GiB", "1kB"])
def test_many_blocks_are_as_accurate_and_a_cache_is_gone_afterwards(rows, tmp_path, memory, capfd):
    X, y = rows
    np.save(tmp_path / "held.npy", X[900:])
    held = FeatureParts.open(tmp_path / "held.npy")
    (tmp_path / "train").mkdir()
    parts = parts_of(tmp_path / "train", X[:900])
    assert has_cache(parts, memory) == (memory == "1kB")
    options = {**OPTIONS, "early_stopping_rounds": 3, "n_estimators": 40}
    array = BoostClassifier(**options).fit(X[:900], y[:900], validation_data=(X[900:], y[900:]))
    made = BoostClassifier(**options).fit(parts, y[:900], validation_data=(held, y[900:]), memory=memory)
    assert abs(made.score(held, y[900:]) - array.score(X[900:], y[900:])) < 0.04
    assert made.n_estimators_ < 40
    assert made.evals_result_["validation"]["mlogloss"][0] == pytest.approx(
        array.evals_result_["validation"]["mlogloss"][0], abs=0.02
    )
    assert left(tmp_path / "train") == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("memory", ["1GiB", 1])
def test_no_more_than_two_blocks_are_read_at_once(rows, tmp_path, monkeypatch, memory):
    X, y = rows
    parts, read, n_rows = parts_of(tmp_path, X), FeatureParts.read, []

    def noted(self, start, stop):
        n_rows.append(stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(FeatureParts, "read", noted)
    head = BoostClassifier(**OPTIONS).fit(parts, y, validation_data=(parts[:900], y[:900]), memory=memory)
    assert max(n_rows) == 2 * parts.block_rows  # to place the bins
    n_rows.clear()
    head.predict_proba(parts)
    assert max(n_rows) == parts.block_rows


def test_the_cache_does_not_change_where_bins_are_cut(rows, tmp_path):
    X, y = rows
    parts = parts_of(tmp_path, X)
    assert has_cache(parts, 1)
    assert not has_cache(parts, "1GiB")
    first = BoostClassifier(**OPTIONS).fit(parts, y, memory="1GiB")
    second = BoostClassifier(**OPTIONS).fit(parts, y, memory=1)
    np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(X), atol=1e-4)


def test_rows_held_out_weights_and_margins_go_along(rows, tmp_path):
    X, y = rows
    parts = parts_of(tmp_path, X)
    margin = np.log(np.full((len(X), 3), 1 / 3, np.float32))
    weight = np.where(np.arange(len(X)) % 5, 1.5, 0).astype(np.float32)
    options = {**OPTIONS, "early_stopping_rounds": 2, "class_weight": "balanced"}
    array = BoostClassifier(**options).fit(X, y, weight, base_margin=margin)
    made = BoostClassifier(**options).fit(parts, y, weight, base_margin=margin)
    assert made.evals_result_["validation"]["mlogloss"][0] == pytest.approx(
        array.evals_result_["validation"]["mlogloss"][0], abs=0.02
    )
    np.testing.assert_allclose(
        made.predict_proba(parts, margin).mean(axis=0), array.predict_proba(X, margin).mean(axis=0), atol=0.03
    )
    with pytest.raises(DataError, match="is missing"):
        made.predict_proba(parts)


def test_bad_input_is_named(rows, tmp_path):
    X, y = rows
    spoilt = X.copy()
    spoilt[1100, 4] = np.nan
    (tmp_path / "spoilt").mkdir()
    spoilt = parts_of(tmp_path / "spoilt", spoilt)
    parts = parts_of(tmp_path, X)
    for memory in ("1GiB", "1kB"):
        with pytest.raises(FeatureError, match="X is NaN at row 1100, column 4"):
            BoostClassifier(**OPTIONS).fit(spoilt, y, memory=memory)
    assert left(tmp_path / "spoilt") == []
    (tmp_path / "infinite").mkdir()
    infinite = parts_of(tmp_path / "infinite", np.where(np.arange(6) == 4, np.inf, X))
    with pytest.raises(FeatureError, match=r"X is infinite .* at row 0, column 4"):
        BoostClassifier(**OPTIONS).fit(infinite, y)
    with pytest.raises(FeatureError, match="X of validation_data is NaN at row 1100"):
        BoostClassifier(**OPTIONS).fit(parts, y, validation_data=(spoilt, y))
    fitted = BoostClassifier(**OPTIONS).fit(parts, y)
    with pytest.raises(FeatureError, match="X is NaN at row 1100"):
        fitted.predict_proba(spoilt)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.fit(parts, y[:-1])
    with pytest.raises(ValueError, match="3 features"):
        fitted.predict(parts_of(tmp_path, X[:, :3]))
    with pytest.raises(ParameterError, match="'12XB' is not a size"):
        fitted.fit(X, y, memory="12XB")


def test_a_file_that_changes_during_the_fit_is_named(rows, tmp_path, monkeypatch):
    X, y = rows
    parts = parts_of(tmp_path, X)
    read = FeatureParts.read

    def cut_off(self, start, stop):
        if start >= 500:
            parts.files[-1].write_bytes(b"")
        return read(self, start, stop)

    monkeypatch.setattr(FeatureParts, "read", cut_off)
    with pytest.raises(StoreError, match=r"002\.npy was changed while its features were in use"):
        BoostClassifier(**OPTIONS).fit(parts, y, memory=1)
    assert left(tmp_path) == []


def test_a_gpu_cannot_work_on_a_cache(rows, tmp_path):
    some = Rows(parts_of(tmp_path, rows[0]), np.zeros(1200, np.intp), None)
    with pytest.raises(DeviceError, match="on the CPU alone and not on cuda:0"):
        needed_cache(some, None, 3, 256, 1, "cuda:0")
    assert needed_cache(some, None, 3, 256, "1GiB", "cuda:0") is None


FIT = """
import sys
from pathlib import Path
import numpy as np
from cnnboost import BoostClassifier, FeatureParts
from cnnboost.errors import CnnboostError
from cnnboost.features import feature_parts
feature_parts.ONE_BLOCK = feature_parts.BLOCK_BYTES = 6000
parts = FeatureParts.open(sorted(Path(sys.argv[1]).glob("*.npy")))
y = np.arange(len(parts)) % 3
exec(sys.argv[2])
try:
    BoostClassifier(n_estimators=20000, max_depth=2, n_jobs=1, device="cpu").fit(parts, y, memory=1)
except (CnnboostError, KeyboardInterrupt) as error:
    print(type(error).__name__, error)
"""


SLOW = """
import time
read = FeatureParts.read
def slowly(self, start, stop):
    print("reading", flush=True)
    time.sleep(0.3)
    return read(self, start, stop)
FeatureParts.read = slowly
"""


def fit_elsewhere(folder: Path, first: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FIT, str(folder), first]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_cache(folder: Path) -> None:
    wait_until(lambda: any(path.is_file() for path in folder.glob(".boost-cache-*/*")))


@posix_only
def test_ctrl_c_in_a_fit_leaves_no_cache_and_a_kill_leaves_what_the_next_fit_sweeps(rows, tmp_path):
    X, y = rows
    parts = parts_of(tmp_path, X)
    stopped = fit_elsewhere(tmp_path)
    wait_for_cache(tmp_path)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=60)
    assert (out.split()[:1], err) == (["KeyboardInterrupt"], "")
    assert left(tmp_path) == []
    killed = fit_elsewhere(tmp_path)
    wait_for_cache(tmp_path)
    with bins_cache(tmp_path, 10) as other:  # the cache of a process at work stays
        assert len([path for path in tmp_path.glob(".boost-cache-*") if path.is_dir()]) == 2
        killed.kill()
        killed.communicate(timeout=60)
        BoostClassifier(**OPTIONS).fit(parts, y, memory=1)
        assert left(tmp_path) == sorted([other.path.name, f"{other.path.name}.lock"])
    assert left(tmp_path) == []


@posix_only
def test_ctrl_c_while_features_are_read_stops_at_the_next_block(rows, tmp_path):
    X, _ = rows
    parts_of(tmp_path, X)
    stopped = fit_elsewhere(tmp_path, SLOW)
    assert stopped.stdout is not None
    stopped.stdout.readline()
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=60)
    assert "KeyboardInterrupt" in out
    assert err == ""
    assert out.count("reading") < 4
    assert left(tmp_path) == []


@posix_only
def test_a_disk_that_is_full_is_told_before_xgboost_writes(rows, tmp_path):
    parts_of(tmp_path, rows[0])
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))"
    out, err = fit_elsewhere(tmp_path, full).communicate(timeout=60)
    assert out.startswith("StoreError")
    assert "File too large (168,360 bytes are needed, " in out
    assert err == ""
    assert left(tmp_path) == []
