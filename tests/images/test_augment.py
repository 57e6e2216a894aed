import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.errors import ParameterError
from cnnboost.images.augment import ORDER, TRAINING, VIEWS, Augmentation, uniforms, warp

EVERYTHING = {
    "flip": 0.5,
    "rotation": 20.0,
    "shift": 0.2,
    "zoom": 0.2,
    "shear": 10.0,
    "crop": 0.2,
    "brightness": 0.2,
    "contrast": 0.3,
    "erasing": 0.5,
}


def images(n=20, height=12, width=16, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def expected_warp(X, maps):
    """Bilinear, one pixel after the other, in floats."""
    n, height, width, _ = X.shape
    out = np.empty(X.shape)
    for i, y, x in np.ndindex(n, height, width):
        at = np.array([x - (width - 1) / 2, y - (height - 1) / 2, 1.0])
        u = min(max(maps[i, 0] @ at + (width - 1) / 2, 0), width - 1)
        v = min(max(maps[i, 1] @ at + (height - 1) / 2, 0), height - 1)
        left, top = min(int(u), width - 2), min(int(v), height - 2)
        p = X[i, top : top + 2, left : left + 2].astype(float)
        upper = p[0, 0] + (u - left) * (p[0, 1] - p[0, 0])
        lower = p[1, 0] + (u - left) * (p[1, 1] - p[1, 0])
        out[i, y, x] = upper + (v - top) * (lower - upper)
    return out


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9), st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_the_resampling_is_bilinear_with_the_nearest_edge(seed, height, width, channels):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (3, height, width, channels), dtype=np.uint8)
    maps = rng.normal(size=(3, 2, 3)) * [1, 1, 3]
    # Places are rounded down to 1/256 pixel: two grey levels at the steepest edge, and one of rounding.
    assert np.abs(warp(X, maps).astype(float) - expected_warp(X, maps)).max() < 3.1


def test_whole_pixels_are_kept_exactly():
    X = images(3, 8, 8, 3)
    one = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (3, 1, 1))
    np.testing.assert_array_equal(warp(X, one), X)
    np.testing.assert_array_equal(warp(X, one * [[-1], [1]]), X[:, :, ::-1])
    np.testing.assert_array_equal(warp(X, -one), X[:, ::-1, ::-1])
    moved = warp(X, np.add(one, [[0, 0, 2], [0, 0, 0]]))
    np.testing.assert_array_equal(moved, X[:, :, [2, 3, 4, 5, 6, 7, 7, 7]])
    turned = warp(X, np.tile(np.array([[0.0, -1, 0], [1, 0, 0]]), (3, 1, 1)))
    np.testing.assert_array_equal(turned, np.rot90(X, 1, axes=(1, 2)))
    # Places beyond 255 pixels are held as well as those before.
    X = np.tile(np.arange(0, 256, dtype=np.uint8)[None, None, :, None], (1, 300, 1, 1))
    half = np.array([[[1.0, 0, 10.5], [0, 1, 0]]])
    np.testing.assert_array_equal(warp(X, half)[0, 150, 100:105, 0], [111, 112, 113, 114, 115])


@given(
    st.fixed_dictionaries({}, optional={k: st.sampled_from([v, v / 3]) for k, v in EVERYTHING.items()}),
    st.integers(0, 2**40),
    st.integers(0, 1000),
    st.permutations(list(range(11))),
    st.integers(1, 5),
)
@settings(max_examples=30, deadline=None)
def test_a_view_is_the_same_in_any_batch_and_order(kind, seed, epoch, order, size):
    augment, X = Augmentation(**kind), images(11)
    numbers = np.arange(11) * 7 + 3
    whole = augment.apply(X, seed, epoch, numbers)
    for start in range(0, 11, size):
        rows = np.array(order[start : start + size])
        np.testing.assert_array_equal(augment.apply(X[rows], seed, epoch, numbers[rows]), whole[rows])


def test_the_input_stays_and_the_output_is_as_the_input():
    X = images(5, channels=3)
    X.setflags(write=False)
    before = X.copy()
    for kind in ({}, {"flip": 1.0}, EVERYTHING):
        out = Augmentation(**kind).apply(X, 0)
        assert (out.shape, out.dtype) == (X.shape, np.uint8)
        assert out.flags.writeable
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(Augmentation().apply(X, 0), X)
    assert Augmentation(**EVERYTHING).apply(X[:0], 0).shape == (0, 12, 16, 3)


def maps_of(kind, n=500, height=41, width=61):
    """The affine map of each view, rows x and y, by the grey levels of ramps that it shows: (n, 2, 3)."""
    x, y = 4.0 * np.arange(width), 6.0 * np.arange(height)[:, None]
    maps = np.empty((n, 2, 3))
    for row, (ramp, middle) in enumerate(((x, width // 2), (y, height // 2))):
        X = np.broadcast_to(ramp.astype(np.uint8), (n, height, width))[..., None]
        place = Augmentation(**kind).apply(X, 0)[..., 0] / (4.0, 6.0)[row]
        maps[:, row, 0] = (place[:, 20, 40] - place[:, 20, 20]) / 20
        maps[:, row, 1] = (place[:, 28, 30] - place[:, 12, 30]) / 16
        maps[:, row, 2] = place[:, 20, 30] - middle
    return maps


def area(maps):
    return np.linalg.det(maps[:, :, :2])


@pytest.mark.parametrize(
    ("kind", "measure", "low", "high"),
    [
        ({"rotation": 20.0}, lambda m: np.degrees(np.arctan2(m[:, 1, 0], m[:, 0, 0])), -20, 20),
        ({"rotation": 20.0}, area, 1, 1),
        ({"shear": 20.0}, lambda m: np.degrees(np.arctan(m[:, 0, 1])), -20, 20),
        ({"shear": 20.0}, area, 1, 1),
        ({"zoom": 0.2}, lambda m: area(m) ** -0.5, 0.8, 1.2),
        ({"zoom": 0.2}, lambda m: m[:, 0, 0] / m[:, 1, 1], 1, 1),
        ({"shift": 0.1}, lambda m: m[:, 0, 2], -6.1, 6.1),
        ({"shift": 0.1}, lambda m: m[:, 1, 2], -4.1, 4.1),
        ({"crop": 0.2}, lambda m: m[:, 0, 2], -6.1, 6.1),
        ({"crop": 0.2}, lambda m: m[:, 1, 2], -4.1, 4.1),
        ({"crop": 0.2}, lambda m: m[:, 0, 0], 0.8, 0.8),
        ({"crop": 0.2}, lambda m: m[:, 1, 1], 0.8, 0.8),
    ],
)
def test_changes_are_drawn_evenly_up_to_their_limits(kind, measure, low, high):
    values = measure(maps_of(kind))
    close = 0.05 + 0.03 * (high - low)
    assert abs(values.min() - low) < close
    assert abs(values.max() - high) < close
    if high > low:
        np.testing.assert_allclose(np.histogram(values, 4, (low, high))[0] / len(values), 0.25, atol=0.07)


def test_shifts_in_both_directions_are_independent():
    for kind in ({"shift": 0.1}, {"crop": 0.2}):
        assert abs(np.corrcoef(maps_of(kind)[:, :, 2].T)[0, 1]) < 0.2


def test_flips_come_as_often_as_asked():
    X = images(2000, 4, 5)
    out = Augmentation(flip=0.3).apply(X, 0)
    flipped = (out == X[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (out == X).all(axis=(1, 2, 3))).all()
    assert 0.26 < flipped.mean() < 0.34
    # With a map that moves nothing that can be seen, the same images are flipped.
    np.testing.assert_array_equal(Augmentation(flip=0.3, rotation=1e-9).apply(X, 0), out)


def test_the_other_changes_happen_to_the_window():
    X = images(300, 20, 20)
    both = Augmentation(crop=0.2, flip=0.4).apply(X, 0)
    window = Augmentation(crop=0.2).apply(X, 0)
    turned = (both == window[:, :, ::-1]).mean(axis=(1, 2, 3)) > 0.95
    straight = (both == window).all(axis=(1, 2, 3))
    assert (turned | straight).mean() == 1
    np.testing.assert_array_equal(
        turned, (Augmentation(flip=0.4).apply(X, 0) == X[:, :, ::-1]).all(axis=(1, 2, 3))
    )


def test_what_a_crop_draws_leaves_the_older_draws_alone():
    X = images(50)
    old = {name: value for name, value in EVERYTHING.items() if name != "crop"}
    whole = Augmentation(**old).apply(X, 4, 2, np.arange(50) * 3)
    # So small a window is the image: the same turns, shifts, tones and erasures come out.
    barely = Augmentation(crop=1e-12, **old).apply(X, 4, 2, np.arange(50) * 3)
    assert np.abs(barely.astype(int) - whole).mean() < 0.05
    more, fewer = (uniforms(TRAINING, 4, 2, np.arange(50), count) for count in (15, 13))
    np.testing.assert_array_equal(more[:, :13], fewer)


def test_brightness_adds_and_contrast_spreads():
    X = images(400) // 4 + 96
    means = X.mean(axis=(1, 2, 3))
    bright = Augmentation(brightness=0.1).apply(X, 0)
    shift = bright.mean(axis=(1, 2, 3)) - means
    assert 24 < np.abs(shift).max() < 26
    np.testing.assert_allclose(bright.std(axis=(1, 2, 3)), X.std(axis=(1, 2, 3)), atol=0.05)
    spread = Augmentation(contrast=0.5).apply(X, 0)
    np.testing.assert_allclose(spread.mean(axis=(1, 2, 3)), means, atol=0.6)
    ratio = spread.std(axis=(1, 2, 3)) / X.std(axis=(1, 2, 3))
    assert 0.48 < ratio.min() < 0.53
    assert 1.47 < ratio.max() < 1.53
    assert Augmentation(brightness=1.0).apply(X, 0).max() == 255


def test_erasing_paints_rectangles_of_the_asked_area():
    X = images(500, 40, 40)
    out = Augmentation(erasing=0.4, erasing_area=0.25).apply(X, 0)
    changed = (out != X)[..., 0]
    erased = changed.any(axis=(1, 2))
    assert 0.33 < erased.mean() < 0.47
    for i in np.flatnonzero(erased):
        rows, columns = np.flatnonzero(changed[i].any(axis=1)), np.flatnonzero(changed[i].any(axis=0))
        part = out[i, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (part == round(float(X[i].mean()))).all()
        assert 0.015 < part.size / 1600 < 0.27


def test_views_differ_by_seed_epoch_and_number_and_begin_with_the_image():
    augment, X = Augmentation(**EVERYTHING), images(9)
    same = np.repeat(X[:1], 6, axis=0)
    changed = [augment.apply(same, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len(np.unique(np.concatenate(changed).reshape(24, -1), axis=0)) == 24
    views = [augment.view(X, k, 2) for k in range(4)]
    np.testing.assert_array_equal(views[0], X)
    np.testing.assert_array_equal(augment.view(X[3:5], 3, 2, [3, 4]), views[3][3:5])
    assert all((a != b).any() for i, a in enumerate(views) for b in views[:i])
    assert (views[1] != augment.apply(X, 2, 1)).any(), "a head must not be fitted on what the CNN has seen"


def test_the_random_numbers_are_even_and_independent():
    u = uniforms(TRAINING, 0, 0, np.arange(20000), 4)
    assert u.min() >= 0
    assert u.max() < 1
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / u.size, 0.1, atol=0.004)
    following = np.column_stack([u[:-1], u[1:], uniforms(TRAINING, 0, 1, np.arange(19999), 4)])
    correlation = np.corrcoef(following.T) - np.eye(12)
    assert np.abs(correlation).max() < 0.03
    kinds = [uniforms(kind, 5, 5, np.arange(100), 2) for kind in (TRAINING, VIEWS, ORDER)]
    assert not (kinds[0] == kinds[1]).any()
    assert not (kinds[1] == kinds[2]).any()
    assert not (uniforms(ORDER, 1, 0, np.arange(9), 1) == uniforms(ORDER, 0, 1, np.arange(9), 1)).any()
    pinned = [[0.024501919755027912, 0.6169349202144145], [0.9540389575919836, 0.26252651396870896]]
    np.testing.assert_allclose(uniforms(TRAINING, 7, 3, np.array([0, 41]), 2), pinned, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"flip": 1.5}, r"flip=1\.5 must be a probability in \[0, 1\]"),
        ({"rotation": -3}, r"rotation=-3 must be degrees in \[0, 180\]"),
        ({"shift": "much"}, "shift='much'"),
        ({"zoom": 1.0}, r"zoom=1\.0"),
        ({"shear": 90}, "shear=90"),
        ({"crop": 1.0}, r"crop=1\.0 must be a share of height and width in \[0, 0\.9\]"),
        ({"contrast": float("nan")}, "contrast=nan"),
        ({"brightness": True}, "brightness=True"),
        ({"erasing_area": 0.0}, r"erasing_area=0\.0"),
        ({"rotate": 5}, r"'rotate'; did you mean 'rotation'\. Known: flip, rotation, shift"),
        ({"flips": 0.5}, "did you mean 'flip'"),
        (0.5, r"augment=0\.5 must be a mapping"),
    ],
)
def test_impossible_values_are_refused_by_name(given, message):
    with pytest.raises(ParameterError, match=message):
        Augmentation.of(given)


def test_only_batches_of_uint8_images_are_taken():
    with pytest.raises(ParameterError, match=r"float64 \(2, 4, 4, 1\)"):
        Augmentation().apply(np.zeros((2, 4, 4, 1)), 0)
    with pytest.raises(ParameterError, match=r"uint8 \(4, 4\)"):
        Augmentation().view(np.zeros((4, 4), np.uint8), 0)
    with pytest.raises(ParameterError, match=r"index has shape \(3,\), there are 2 images"):
        Augmentation().apply(images(2), 0, index=[1, 2, 3])
