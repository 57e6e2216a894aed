import json
import subprocess
import sys

import numpy as np
import pytest

from cnnboost.timing import paths


@pytest.mark.parametrize("path", paths.PATHS)
def test_all_paths_give_the_same_probabilities(path, source):
    X, F = np.load(source.images), np.load(source.features)
    given = F if paths.is_head_only(path) else X
    found = paths.open_path(path, source)(given)
    expected = paths.open_path(paths.label_reference(path), source)(X)
    assert found.shape == (40, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert np.median(np.abs(found - expected)) < 1e-5


def test_cnn_and_hybrid_are_two_things(source):
    X = np.load(source.images)
    cnn, hybrid = (paths.open_path(path, source)(X) for path in ("cnn/onnx", "hybrid/onnx"))
    assert np.abs(cnn - hybrid).max() > 1e-3


def test_only_heads_are_head_only():
    assert [path for path in paths.PATHS if paths.is_head_only(path)] == ["head/dmatrix", "head/inplace"]


@pytest.mark.parametrize("path", paths.PATHS)
def test_times_are_compared_with_what_begins_at_the_same_place(path):
    reference = paths.latency_reference(path)
    assert paths.is_head_only(path) == paths.is_head_only(reference)
    assert not paths.is_head_only(paths.label_reference(path))


def test_a_plain_loop_goes_in_slices(source, monkeypatch):
    monkeypatch.setattr(paths, "PLAIN_SLICE", 16)
    X = np.load(source.images)
    whole = paths.open_path("hybrid/onnx", source)(X)
    np.testing.assert_allclose(paths.open_path("hybrid/plain-onnx", source)(X), whole, atol=1e-5)


@pytest.mark.parametrize("kind", ["sigmoid", "logits"])
@pytest.mark.parametrize("path", ["cnn/predict", "cnn/compiled"])
def test_other_outputs_become_probabilities(path, kind, source, tmp_path):
    import keras

    image = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(image)
    last = keras.layers.Dense(1, "sigmoid") if kind == "sigmoid" else keras.layers.Dense(3)
    keras.Model(image, last(flat)).save(tmp_path / "other.keras")
    other = source._replace(cnn=str(tmp_path / "other.keras"), pixels="symmetric")
    found = paths.open_path(path, other)(np.load(source.images))
    assert found.shape == (40, 2 if kind == "sigmoid" else 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-4)
    assert found.min() >= 0


@pytest.mark.parametrize("product", paths.PRODUCTS)
def test_products_are_products(product):
    found = np.asarray(paths.open_product(product, 32, None)()).reshape(32, 32)
    a, b = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    np.testing.assert_allclose(found, a @ b, rtol=1e-4)


def test_the_onnx_paths_load_no_other_library(source):
    code = (
        "import json, sys, numpy as np\n"
        "from cnnboost.timing.paths import Source, open_path\n"
        "source = Source(**json.loads(sys.argv[1]))\n"
        "for path in ('hybrid/onnx', 'hybrid/plain-onnx', 'cnn/onnx'):\n"
        "    open_path(path, source)(np.load(source.images)[:1])\n"
        "print([name for name in ('tensorflow', 'keras', 'xgboost', 'sklearn') if name in sys.modules])\n"
    )
    metadata = json.dumps(source._asdict())
    done = subprocess.run([sys.executable, "-c", code, metadata], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
