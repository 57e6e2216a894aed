from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from cnnboost.boost import BoostClassifier
from cnnboost.errors import CnnboostError, StoreError
from cnnboost.files import digest_of


def quick(**parameters):
    return BoostClassifier(**{"n_estimators": 3, "max_depth": 3, "n_jobs": 1, **parameters})


@pytest.fixture
def saved(tmp_path, features, emotions) -> Path:
    return quick().fit(features, emotions).save(tmp_path / "fc1.ubj")


@pytest.mark.parametrize(
    "names",
    [["b", "a", "c"], ["1", "2", "10"], [-3, 10, 200], [2.0, 0.0, 7.0]],
    ids=["str", "digits", "int", "float"],
)
@pytest.mark.parametrize("dtype", [None, object])
def test_a_loaded_head_is_the_saved_one(tmp_path, features, numbers, names, dtype):
    y = np.array(np.array(names)[numbers].tolist(), dtype=dtype)
    listed = [names[i] for i in (2, 0, 1)]
    head = quick(
        classes=listed,
        class_weight={names[0]: 2.5},
        subsample=0.7,
        random_state=4,
        xgb_params={"max_leaves": 5},
    ).fit(features, y)
    again = BoostClassifier.load(head.save(tmp_path / "head.ubj"))
    assert np.array_equal(again.predict_proba(features), head.predict_proba(features))
    assert again.predict(features).dtype == head.predict(features).dtype
    assert again.get_params() == head.get_params()
    assert [(type(label), label) for label in again.classes_.tolist()] == [(type(n), n) for n in listed]
    for name in ("n_features_in_", "n_estimators_", "best_iteration_", "evals_result_", "device_", "seed_"):
        assert getattr(again, name) == getattr(head, name), name
    assert np.array_equal(again.feature_importances_, head.feature_importances_)
    refitted = clone(again).fit(features, y)
    assert np.array_equal(refitted.predict_proba(features), head.predict_proba(features))


def test_bools_early_stopping_one_class_and_names_come_back(tmp_path, features, numbers):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(features, columns=list("abcdef"))
    head = quick(n_estimators=50, early_stopping_rounds=2).fit(X, numbers == 1)
    again = BoostClassifier.load(head.save(tmp_path / "early"))
    assert again.classes_.dtype == bool
    assert again.feature_names_in_.tolist() == list("abcdef")
    assert again.evals_result_ == head.evals_result_
    assert again.best_iteration_ == head.best_iteration_
    assert np.array_equal(again.predict_proba(X), head.predict_proba(X))
    constant = quick().fit(features, ["sad"] * 300)
    assert set(BoostClassifier.load(constant.save(tmp_path / "one")).predict(features)) == {"sad"}


def test_a_generator_is_saved_as_the_seed_that_was_drawn(tmp_path, features, numbers):
    head = quick(subsample=0.5, random_state=np.random.RandomState(8)).fit(features, numbers)
    again = BoostClassifier.load(head.save(tmp_path / "head"))
    assert again.random_state == head.seed_
    assert np.array_equal(again.fit(features, numbers).predict_proba(features), head.predict_proba(features))
    assert isinstance(head.random_state, np.random.RandomState)


def test_the_files_are_named_after_the_head_and_hold_no_pickle(tmp_path, features, emotions, xgboost):
    path = quick().fit(features, emotions).save(tmp_path / "heads" / "fc1.v2-plain")
    assert path == tmp_path / "heads" / "fc1.v2-plain.ubj"
    assert sorted(item.name for item in path.parent.iterdir()) == ["fc1.v2-plain.json", "fc1.v2-plain.ubj"]
    metadata = json.loads(path.with_suffix(".json").read_text())
    assert metadata["format"] == 1
    assert metadata["classes"] == ["angry", "happy", "sad"]
    assert metadata["versions"]["xgboost"] == xgboost.__version__
    assert metadata["ubj_bytes"] == path.stat().st_size
    booster = xgboost.Booster(model_file=path)
    assert booster.num_features() == metadata["n_features"]
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(path.read_bytes())
    assert np.array_equal(BoostClassifier.load(str(path)[:-4]).classes_, ["angry", "happy", "sad"])


def edit(change):
    """Alter the `.json` and give it the right checksum again."""

    def alter(path: Path) -> None:
        sidecar = path.with_suffix(".json")
        metadata = json.loads(sidecar.read_text())
        metadata.pop("facts_sha256")
        change(metadata)
        metadata["facts_sha256"] = digest_of(metadata)
        sidecar.write_text(json.dumps(metadata))

    return alter


def no_parse(*args, **kwargs):
    raise AssertionError("XGBoost saw bytes that had not been checked")


def trees(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


def text(change):
    return lambda path: path.with_suffix(".json").write_text(change(path.with_suffix(".json").read_text()))


def updated(**keys):
    return edit(lambda metadata: metadata.update(**keys))


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (lambda path: path.unlink(), r"fc1\.ubj is missing"),
        (lambda path: path.with_suffix(".json").unlink(), r"fc1\.json is missing"),
        (trees(lambda content: content[:-1]), r"fc1\.ubj does not match the checksum.*truncated"),
        (trees(lambda content: content + b"}"), r"fc1\.ubj.*truncated or altered"),
        (trees(lambda content: content[::-1]), r"fc1\.ubj does not match the checksum"),
        (text(lambda content: ""), r"fc1\.json is damaged: not JSON"),
        (text(lambda content: "[" * 100_000), r"fc1\.json is damaged: not JSON"),
        (text(lambda content: "[]"), r"fc1\.json is damaged: it holds no JSON object"),
        (text(lambda content: '{"a": 1}'), r"fc1\.json: format: field required"),
        (text(lambda content: content.replace("happy", "sad")), r"fc1\.json was altered"),
        (updated(format=2), "format 2, this version reads 1; update"),
        (updated(format="1"), "format: input should be a valid integer"),
        (updated(extra=1), "extra: extra inputs are not permitted"),
        (edit(lambda metadata: metadata.pop("classes")), "classes: field required"),
        (updated(classes=[0, 1, 2]), "classes contradict classes_kind"),
        (updated(classes_dtype="U9"), "classes_dtype"),
        (updated(ubj_sha256="0" * 64), "does not match the checksum"),
    ],
)
def test_tampering_is_found_before_anything_is_parsed(saved, alter, complaint, monkeypatch, xgboost):
    alter(saved)
    monkeypatch.setattr(xgboost.Booster, "load_model", no_parse)
    with pytest.raises(StoreError, match=complaint) as caught:
        BoostClassifier.load(saved)
    assert isinstance(caught.value, CnnboostError)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda metadata: metadata["classes"].append("calm"), "of different heads"),
        (lambda metadata: metadata.update(n_features=7), "of different heads"),
        (lambda metadata: metadata.update(n_estimators=99), "of different heads"),
        (lambda metadata: metadata["parameters"].update(shape=1), "parameters do not fit"),
        (lambda metadata: metadata["parameters"].update(class_weight=[1, 2]), "parameters do not fit"),
        (lambda metadata: metadata.update(classes_dtype="int64"), "classes_dtype"),
    ],
)
def test_a_contradiction_with_a_right_checksum_is_found(saved, change, complaint):
    edit(change)(saved)
    with pytest.raises(StoreError, match=complaint):
        BoostClassifier.load(saved)


@pytest.mark.parametrize(
    "damage",
    [
        lambda trees: b"junk" * 100,
        # XGBoost names what it does not know, here by bytes that are not text.
        lambda trees: trees.replace(b"multi:softprob", b"multi:softpr\xffb"),
    ],
)
def test_bytes_that_xgboost_cannot_read_are_a_store_error(saved, damage):
    junk = damage(saved.read_bytes())
    saved.write_bytes(junk)
    updated(ubj_sha256=hashlib.sha256(junk).hexdigest(), ubj_bytes=len(junk))(saved)
    with pytest.raises(StoreError, match=r"fc1\.ubj: XGBoost .* cannot read the trees"):
        BoostClassifier.load(saved)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
    which=st.sampled_from([".ubj", ".json"]),
)
def test_any_changed_byte_is_found(saved, place, flip, which):
    file = saved.with_suffix(which)
    original = file.read_bytes()
    changed = bytearray(original)
    changed[int(place * len(changed))] ^= flip
    file.write_bytes(changed)
    try:
        head = BoostClassifier.load(saved)
    except StoreError:
        pass
    else:
        # Only white space of the JSON is free.
        assert which == ".json"
        assert json.loads(changed) == json.loads(original)
        assert head.classes_.tolist() == ["angry", "happy", "sad"]
    finally:
        file.write_bytes(original)


def test_what_json_cannot_hold_is_named(tmp_path, features, numbers):
    head = quick().fit(features, numbers)
    with pytest.raises(StoreError, match=r"parameter xgb_params=.*base_score"):
        head.set_params(xgb_params={"base_score": np.inf}).save(tmp_path / "head")
    head.set_params(xgb_params={"max_leaves": np.int64(4)}).save(tmp_path / "fine")
    head.classes_ = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], dtype="datetime64[D]")
    with pytest.raises(StoreError, match=r"the classes .* cannot be saved"):
        head.save(tmp_path / "head")
    assert not list(tmp_path.glob("*head*"))


def test_a_failed_write_leaves_the_old_head_and_no_scrap(saved, features, numbers, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    head = quick().fit(features, numbers)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        head.save(saved)
    assert sorted(item.name for item in saved.parent.iterdir()) == ["fc1.json", "fc1.ubj"]
    assert BoostClassifier.load(saved).classes_.tolist() == ["angry", "happy", "sad"]
