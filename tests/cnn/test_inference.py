import gc
import os

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.cnn.inference import Inference, plan
from cnnboost.cnn.inputs import scale_pixels
from cnnboost.errors import ModelError
from cnnboost.images import pixels
from cnnboost.images.pixels import CHUNKS


@given(st.integers(1, 2000), st.sampled_from(CHUNKS))
def test_chunks_cover_every_image_once(n, largest):
    parts = list(plan(n, largest))
    assert [row for start, size, _ in parts for row in range(start, start + size)] == list(range(n))
    assert all(size <= chunk <= largest and chunk in CHUNKS for _, size, chunk in parts)


def test_chunks_of_large_images_are_put_together(monkeypatch, toy_cnn, toy_images):
    X = toy_images[0][:100]
    expected = Inference(toy_cnn.model_)(X)[0]
    monkeypatch.setattr(pixels, "_MOST_PIXELS", 8 * 64)
    run = Inference(toy_cnn.model_)
    sizes, one = [], run._run

    def noted(part, chunk):
        sizes.append(chunk)
        return one(part, chunk)

    monkeypatch.setattr(run, "_run", noted)
    np.testing.assert_allclose(run(X)[0], expected, atol=1e-5)
    assert set(sizes) == {8}


def test_it_is_the_models_own_answer(toy_cnn, toy_images):
    X = toy_images[0][:300]
    expected = toy_cnn.model_.predict(X, verbose=0)
    np.testing.assert_allclose(Inference(toy_cnn.model_)(X)[0], expected, atol=1e-6)


def test_the_result_does_not_depend_on_batch_size(toy_cnn, toy_images):
    X = toy_images[0][:260]
    run = Inference(toy_cnn.model_)
    for size in (1, 7, 64, 200):
        pieces = np.concatenate([run(X[i : i + size])[0] for i in range(0, len(X), size)])
        np.testing.assert_allclose(pieces, run(X)[0], atol=1e-5)


@pytest.mark.parametrize("pixels", ["unit", "caffe"])
def test_scaled_pixels_reach_a_foreign_model(pixels):
    import keras

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    X = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    expected = scale_pixels(X.astype(np.float32), pixels).reshape(3, -1)
    np.testing.assert_allclose(Inference(model, pixels)(X)[0], expected, rtol=1e-5, atol=1e-5)


def test_weights_that_change_are_seen(toy_images):
    from cnnboost.cnn.architectures import build

    model = build("digits", (8, 8, 1), 10)
    run = Inference(model)
    before = run(toy_images[0][:4])[0]
    model.set_weights([w * 2 for w in model.get_weights()])
    assert not np.allclose(before, run(toy_images[0][:4])[0])


def test_many_calls_trace_once_and_leak_nothing(toy_cnn, toy_images):
    run = Inference(toy_cnn.model_)
    X = toy_images[0]
    for i in range(500):
        run(X[i % 500 : i % 500 + 1 + i % 5])
    traced = len(run._traced)
    gc.collect()
    before = psutil.Process(os.getpid()).memory_info().rss
    for i in range(2000):
        run(X[i % 500 : i % 500 + 1])
    gc.collect()
    assert len(run._traced) == traced == 1
    assert psutil.Process(os.getpid()).memory_info().rss - before < 4 * 2**20


def test_images_that_do_not_fit_are_refused(toy_cnn):
    with pytest.raises(ModelError, match=r"48x48x1.*8x8x1"):
        Inference(toy_cnn.model_)(np.zeros((1, 48, 48, 1), np.uint8))
