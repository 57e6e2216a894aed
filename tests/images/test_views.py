"""Views at test time are the same looks at every image, and labels survive them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnboost.errors import ParameterError
from cnnboost.images.views import TTA, margin_of, mean_over_views, views


def batch(n=3, height=48, width=48, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(TTA)),
    st.integers(3, 50),
    st.integers(3, 50),
    st.sampled_from([1, 3]),
    st.integers(1, 4),
)
def test_each_kind_gives_its_number_of_views_of_the_same_size(tta, height, width, channels, n):
    X = batch(n, height, width, channels)
    before = X.copy()
    found = list(views(X, tta))
    assert len(found) == TTA[tta]
    assert {view.shape for view in found} == {X.shape}
    assert all(view.min() >= X.min() and view.max() <= X.max() for view in found)
    np.testing.assert_array_equal(X, before)
    if tta != "ten-crop":
        np.testing.assert_array_equal(found[0], X)
    for one, other in zip(views(X[-1:], tta), found, strict=True):  # no other image plays a part
        np.testing.assert_array_equal(one, other[-1:])


@pytest.mark.parametrize("tta", [name for name in TTA if name != "none"])
def test_mirror_images_have_the_same_views(tta):
    X = batch(2)
    means = [np.mean(list(views(images, tta)), axis=0) for images in (X, X[:, :, ::-1])]
    np.testing.assert_allclose(means[0], means[1], atol=1e-3)


def test_shifts_repeat_the_edge():
    X = batch()
    s = margin_of(48)
    assert s == 4
    right, left, down, up = list(views(X, "shifts"))[2::2]
    np.testing.assert_array_equal(right[:, :, s:], X[:, :, :-s])
    np.testing.assert_array_equal(right[:, :, :s], np.repeat(X[:, :, :1], s, axis=2))
    np.testing.assert_array_equal(left[:, :, :-s], X[:, :, s:])
    np.testing.assert_array_equal(down[:, s:], X[:, :-s])
    np.testing.assert_array_equal(up[:, -s:], np.repeat(X[:, -1:], s, axis=1))


def test_crops_are_those_of_pillow():
    X = batch()
    corners = list(views(X, "ten-crop"))[::2]
    places = [(4, 4), (0, 0), (0, 8), (8, 0), (8, 8)]
    for crop, (top, left) in zip(corners, places, strict=True):
        for image, found in zip(X, crop, strict=True):
            part = Image.fromarray(image[top : top + 40, left : left + 40, 0].astype(np.float32))
            expected = np.asarray(part.resize((48, 48), Image.Resampling.BILINEAR))
            np.testing.assert_allclose(found[:, :, 0], expected, atol=1e-2)


@pytest.mark.parametrize("size", [10, 48, 100])
def test_crops_invent_no_grey_level(size):
    for level in (1, 77, 255):
        X = np.full((1, size, size, 1), level, np.uint8)
        assert all((view == level).all() for view in views(X, "ten-crop"))
    X = batch(20, size, size).astype(np.float32) / 3
    for view in views(X, "ten-crop"):
        assert (view.min(axis=(1, 2, 3)) >= X.min(axis=(1, 2, 3))).all()
        assert (view.max(axis=(1, 2, 3)) <= X.max(axis=(1, 2, 3))).all()


@pytest.mark.parametrize("tta", [name for name in TTA if name != "none"])
def test_no_more_than_some_images_are_viewed_at_a_time(tta):
    X, asked = batch(1100, 5, 5), []

    def predict(view):
        asked.append(len(view))
        return view.reshape(len(view), -1).astype(np.float64)

    found = mean_over_views(predict, X, tta)
    assert asked == [512] * TTA[tta] * 2 + [76] * TTA[tta]
    expected = np.mean([view.reshape(1100, -1).astype(float) for view in views(X, tta)], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    asked.clear()
    mean_over_views(predict, X, "none")
    assert asked == [1100]


def test_what_cannot_be_is_refused():
    with pytest.raises(ParameterError, match="tta='five' must be one of none, flip, shifts, ten-crop"):
        next(views(batch(), "five"))
    with pytest.raises(ParameterError, match="leaves nothing of 2x2 images"):
        next(views(batch(1, 2, 2), "ten-crop"))
