"""The bundle that ships: where it is looked for, what is said of it, and what if it is not there."""

import numpy as np
import pytest

from cnnboost import Predictor
from cnnboost.deploy import shipped
from cnnboost.deploy.bundle import write_bundle
from cnnboost.deploy.shipped import NAME, describe, shipped_bundle
from cnnboost.errors import StoreError
from tests.deploy.small_graph import facts_of, small_file

FACTS = {key: value for key, value in facts_of().items() if key not in ("format", "kind", "native")}


def put(models, seed=0, **metadata):
    content = small_file(seed=seed)
    return write_bundle(models / NAME, {**FACTS, "versions": {}, **metadata}, {"hybrid.onnx": content})


@pytest.fixture
def look_in(tmp_path, monkeypatch):
    """Set the folders that are looked in, by name."""
    return lambda *names: monkeypatch.setattr(
        shipped, "_places", lambda: tuple(tmp_path / name for name in names)
    )


def test_the_first_folder_that_holds_one_counts(tmp_path, look_in):
    put(tmp_path / "second", seed=1)
    put(tmp_path / "third", seed=2)
    (tmp_path / "first" / NAME).mkdir(parents=True)  # a training that was never exported
    look_in("none", "first", "second", "third")
    found = shipped_bundle()
    assert found.folder == tmp_path / "second" / NAME
    X = np.zeros((1, 8, 8, 1), np.uint8)
    wanted = Predictor.load(tmp_path / "second" / NAME / "hybrid.onnx").predict_proba(X)
    np.testing.assert_array_equal(Predictor.load(found).predict_proba(X), wanted)


def test_without_one_the_error_names_places_and_remedies(tmp_path, look_in):
    look_in("a", "b")
    with pytest.raises(StoreError) as error:
        shipped_bundle()
    for word in (str(tmp_path / "a" / NAME), str(tmp_path / "b" / NAME), "--model", "--recipe"):
        assert word in str(error.value)


def test_a_damaged_one_is_refused_and_not_passed_over(tmp_path, look_in):
    put(tmp_path / "first")
    put(tmp_path / "second")
    (tmp_path / "first" / NAME / "hybrid.onnx").write_bytes(b"")
    look_in("first", "second")
    with pytest.raises(StoreError, match=r"ships.*damaged.*hybrid\.onnx.*install cnnboost anew"):
        shipped_bundle()


def test_it_is_looked_for_in_the_package_and_then_in_the_repository():
    package, repository = shipped._places()
    assert (package.name, package.parent.name) == ("models", "cnnboost")
    assert repository == package.parent.parent / "models"


def test_one_line_says_which_it_is(tmp_path):
    scores = {
        "split": "validation",
        "images": 3589,
        "hybrid": {"accuracy": 0.68123},
        "cnn": {"accuracy": 0.6749},
    }
    bundle = put(tmp_path, title="Faces", scores=scores)
    assert describe(bundle).startswith("Faces; accuracy 68.1% on 3,589 images of validation (")
    assert "67.5%" in describe(bundle, "cnn")
    assert describe(put(tmp_path)) == f"toy ({tmp_path / NAME})"
