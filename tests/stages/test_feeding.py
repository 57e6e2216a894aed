"""A model file from elsewhere is fed and read as suits it, or no verdict on it is given."""

import json

import keras
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from cnnboost.errors import DataError, ModelError
from cnnboost.images import ImageSet
from cnnboost.stages.feeding import find_feeding

L = keras.layers
FER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
TO_UNIT = {  # what brings a grey image that was scaled so to 0..1: factor and offset for a channel, and which
    "raw": (1 / 255, 0, 0),
    "unit": (1, 0, 0),
    "symmetric": (0.5, 0.5, 0),
    "caffe": (1 / 255, 103.939 / 255, 0),
    "torch": (0.229, 0.485, 0),
}


@pytest.fixture(scope="module")
def network(toy_images):
    """Return a function that makes a model that expects a scale, and nothing tells.

    Inside is a linear classifier of 0..1, whose accuracy falls at any other scale.
    """
    X, y = toy_images
    linear = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(X.reshape(len(X), -1) / 255, y)
    inner = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10, activation="softmax")])
    inner.layers[-1].set_weights([linear.coef_.T, linear.intercept_])

    def network(scale="unit", outputs=range(10), channels=1, noise=0.0):
        factor, offset, channel = TO_UNIT[scale]
        kernel = np.zeros((1, 1, channels, 1), np.float32)
        kernel[0, 0, channel] = factor
        image = keras.Input((8, 8, channels))
        known = inner(L.Conv2D(1, 1, name="hidden")(image))
        out = L.Dense(len(outputs), activation="softmax", name="reads")
        model = keras.Model(image, out(known))
        model.get_layer("hidden").set_weights([kernel, np.array([offset], np.float32)])
        reads = np.zeros((10, len(outputs)), np.float32)
        reads[list(outputs), range(len(outputs))] = 20
        reads += np.random.default_rng(0).normal(0, noise, reads.shape) if noise else 0
        out.set_weights([reads, np.zeros(len(outputs), np.float32)])
        return model

    return network


@pytest.fixture
def find(network, toy_images, tmp_path):
    def find(model, names=None, pixels=None, classes=None, channels=1):
        names = [str(i) for i in range(10)] if names is None else names
        X, y = toy_images
        rows = y < len(names)
        order = sorted(names)
        images = ImageSet.from_arrays(
            np.repeat(X[rows], channels, axis=3), [order.index(names[d]) for d in y[rows]], classes=order
        )
        path = tmp_path / "model.keras"
        model.save(path)
        return find_feeding(model, path, images, pixels, classes, tmp_path / "given.json")

    return find


@pytest.mark.parametrize(
    ("channels", "scale"), [(1, "raw"), (1, "unit"), (1, "symmetric"), *((3, scale) for scale in TO_UNIT)]
)
def test_a_wrong_scale_gives_no_verdict_and_the_right_one_is_named(network, find, scale, channels):
    found = find(network(scale, channels=channels), channels=channels)
    assert found.pixels == "unit"
    if scale == "unit":
        assert not found.doubt
        found.require()
        return
    with pytest.raises(
        ModelError, match=rf"model\.keras: .*pixels unit.*pixels {scale}.*: --pixels {scale}$"
    ):
        found.require()
    right = find(network(scale, channels=channels), pixels=scale, channels=channels)
    assert (right.pixels, right.doubt) == (scale, "")


def test_a_scale_that_was_stated_is_warned_of(network, find, caplog):
    found = find(network("raw"), pixels="symmetric")
    assert found.stated
    assert found.pixels == "symmetric"
    assert "what was asked for looks wrong" in caplog.text
    found.require()


NUMBERS = [*map(str, range(9)), "10"]


@pytest.mark.parametrize("order", [NUMBERS, sorted(NUMBERS)], ids=["numeric", "alphabetical"])
def test_the_order_of_numbers_is_found_out(network, find, order):
    found = find(network(outputs=[NUMBERS.index(name) for name in order]), NUMBERS)
    assert found.classes == tuple(order)
    assert found.ordered
    assert not found.doubt


def test_scale_and_order_can_be_wrong_at_once(network, find):
    found = find(network("raw"), NUMBERS)
    with pytest.raises(ModelError, match=f"--pixels raw --classes {','.join(NUMBERS)}$"):
        found.require()


def test_an_order_of_numbers_that_cannot_be_found_out_is_asked_for(network, find):
    untrained = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10, activation="softmax")])
    found = find(untrained, NUMBERS)
    assert not found.ordered
    with pytest.raises(
        ModelError, match=r"accuracy does not tell.*--classes 0,1,10,2.*or --classes 0,1,2,3.*8,10$"
    ):
        found.require()
    assert find(untrained, NUMBERS, classes=NUMBERS).ordered


def test_emotions_in_the_order_of_their_numbers(network, find):
    found = find(network(outputs=range(7)), FER)
    assert found.classes == tuple(sorted(FER))
    with pytest.raises(ModelError, match=f"--classes {','.join(FER)}$"):
        found.require()
    assert not find(network(outputs=range(7)), FER, classes=FER).doubt


def test_any_other_order_is_noticed(network, find):
    names, outputs = list("abcdefghij"), [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    found = find(network(outputs=outputs), names)
    with pytest.raises(ModelError, match=f"--classes {','.join(names[i] for i in outputs)}$"):
        found.require()
    assert not find(network(outputs=outputs), names, classes=[names[i] for i in outputs]).doubt
    swapped = find(network(outputs=outputs), names, classes=names)
    assert swapped.stated


@pytest.mark.parametrize(("n", "wrong"), [(40, 0.0), (40, 0.3), (100, 0.5), (300, 0.6)])
@pytest.mark.parametrize("seed", range(2))
def test_a_weak_model_that_is_rightly_fed_is_believed(find, toy_images, n, wrong, seed):
    from sklearn.linear_model import LogisticRegression

    (X, y), rng = toy_images, np.random.default_rng(seed)
    rows = np.argsort(rng.permutation(len(y)), kind="stable")[:n]
    noisy = (X[rows] / 255 + rng.normal(0, 0.3, X[rows].shape)).reshape(n, -1)
    labels = np.where(rng.random(n) < wrong, rng.integers(0, 10, n), y[rows])
    labels[:10] = range(10)
    known = LogisticRegression(max_iter=500).fit(noisy, labels)
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10, activation="softmax")])
    model.layers[-1].set_weights([known.coef_.T, known.intercept_])
    accuracy = (model.predict(X / 255, verbose=0).argmax(axis=1) == y).mean()
    assert 0.2 < accuracy < 0.9
    assert not find(model, list("abcdefghij")).doubt


@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_knows_nothing_is_believed(find, seed):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((8, 8, 1))
    for layer in (L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(10, activation="softmax")):
        x = layer(x)
    assert not find(keras.Model(image, x), list("abcdefghij")).doubt


def test_a_model_that_calls_all_images_one_class_is_believed(find):
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(3, activation="softmax")])
    model.layers[-1].set_weights(
        [np.full((64, 3), [1.0, 0, 0]), np.array([-3.0, 0, 5])]
    )  # another one at raw
    assert not find(model, list("abc")).doubt


def test_names_with_commas_go_into_a_file(network, find):
    names = ["a, b", *"cdefghijk"]
    found = find(network(outputs=[*range(1, 10), 0]), names)
    with pytest.raises(ModelError, match=r"in a file, one name per line"):
        found.require()


def test_other_classes_are_refused(network, find):
    with pytest.raises(DataError, match="missing: j"):
        find(network(), list("abcdefghij"), classes=list("abcdefghi"))


def test_what_was_found_is_kept_until_something_changes(network, find, tmp_path, monkeypatch):
    from cnnboost.stages.feeding import Trials

    first = find(network("raw"))
    calls = []
    real = Trials._try
    monkeypatch.setattr(Trials, "_try", lambda self: calls.append(self) or real(self))
    assert find(network("raw")).doubt
    path = tmp_path / "given.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "feeding": {**record["feeding"], "doubt": ""}}))
    calls.clear()
    assert find(network("raw")) == first
    assert len(calls) == 1


def test_networks_without_a_softmax_or_with_other_outputs_are_left_to_others(network, find):
    image = keras.Input((8, 8, 1))
    assert not find(keras.Model(image, L.Flatten()(L.Conv2D(2, 3)(image)))).doubt
    assert not find(network(), list("abc")).doubt
