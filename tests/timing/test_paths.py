import json
import subprocess
import sys

import numpy as np
import pytest

from cnnboost.boost import BoostClassifier
from cnnboost.cnn import CNNClassifier
from cnnboost.features.cut import Cut
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.hybrid.modes import FittedMode
from cnnboost.images.views import mean_over_views
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


@pytest.fixture(scope="module")
def extractor(source):
    return FeatureExtractor([CNNClassifier.load(source.cnn, pixels=source.pixels)], ["fc1", "fc2"], True)


@pytest.fixture(scope="module", params=["residual", "blend"])
def beside(request, source, extractor, tmp_path_factory):
    """A head beside the softmax, over two views; and what defines it."""
    mode, X = request.param, np.load(source.images)
    features, log_proba = extractor(X)
    margin = log_proba / np.float32(1.5) if mode == "residual" else None
    boost = BoostClassifier(n_estimators=3, n_jobs=1, classes=list(range(10)))
    boost.fit(features, log_proba.argmax(axis=1), base_margin=margin)
    path = boost.save(tmp_path_factory.mktemp("head") / "head.ubj")
    metadata = {"temperature": 1.5, "weight": 0.3 if mode == "blend" else 0.0}
    found = source._replace(
        head=str(path),
        mode=mode,
        layer="fc1+fc2",
        layers=("fc1", "fc2"),
        norm=True,
        tta="flip",
        threads=1,
        **metadata,
    )
    return found, FittedMode(mode, boost, **metadata)


@pytest.fixture
def counted(monkeypatch):
    """Count what is loaded, and note where networks are cut."""
    heads, cuts = [], []
    load, trunk = BoostClassifier.load, Cut.trunk
    monkeypatch.setattr(BoostClassifier, "load", lambda *args: heads.append(args) or load(*args))
    monkeypatch.setattr(Cut, "trunk", lambda self, layers: cuts.append(list(layers)) or trunk(self, layers))
    return heads, cuts


@pytest.mark.parametrize("compiled", [True, False])
def test_plain_trees_run_the_trunk_alone_for_each_view(source, compiled, counted):
    X = np.load(source.images)
    heads, cuts = counted
    found = paths._open_hybrid(source._replace(tta="flip"), compiled)(X)
    assert cuts == [["fc1"]]
    assert len(heads) == 1
    one_view = paths._open_hybrid(source, compiled)
    np.testing.assert_allclose(found, (one_view(X) + one_view(X[:, :, ::-1])) / 2, atol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_other_modes_give_what_defines_them(beside, extractor, compiled, counted):
    source, head = beside
    X = np.load(source.images)
    found = paths._open_hybrid(source, compiled)(X)
    assert len(counted[0]) == 1
    wanted = mean_over_views(lambda view: head.predict_proba(*extractor(view)), X, "flip")
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_head_alone_is_loaded_once(beside, extractor, in_place, counted):
    source, head = beside
    features, log_proba = extractor(np.load(source.images))
    found = paths._open_head(source, in_place)(np.concatenate([features, log_proba], axis=1))
    assert len(counted[0]) == 1
    np.testing.assert_allclose(found, head.predict_proba(features, log_proba), atol=1e-6)
