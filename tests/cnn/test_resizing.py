import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.cnn.batches import Batches
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.resizing import shrink, stages
from cnnboost.errors import ParameterError

SHARES = st.lists(st.floats(0.01, 0.33), max_size=3)


@given(st.integers(0, 60), SHARES)
def test_the_stages_follow_one_another_and_end_with_the_training(epochs, shares):
    asked = [(20 + 4 * i, share) for i, share in enumerate(shares)]
    found = stages(TrainingOptions(epochs=epochs, progressive_resizing=asked), (48, 36))
    assert found[0].start == 0
    assert found[-1].stop == epochs
    assert [stage.stop for stage in found[:-1]] == [stage.start for stage in found[1:]]
    assert sorted({stage.size for stage in found}) == [stage.size for stage in found]
    for stage in found:
        # A share is kept to within one epoch, wherever rounding puts its ends, but for the last one of full
        # images.
        share = dict(asked).get(stage.size[0], 1 - sum(shares))
        assert abs(stage.stop - stage.start - share * epochs) <= 1.5 or stage is found[-1]
        assert stage.full == (stage is found[-1]) == (stage.size == (48, 36))
    assert found[-1].stop > found[-1].start or not epochs


def test_without_stages_there_is_one_of_the_images_own_size():
    (only,) = stages(TrainingOptions(epochs=7), (48, 40))
    assert (only.start, only.stop, only.size) == (0, 7, (48, 40))


def test_the_width_keeps_its_proportion():
    first = stages(TrainingOptions(epochs=2, progressive_resizing=[(24, 0.5)]), (48, 32))[0]
    assert first.size == (24, 16)


@pytest.mark.parametrize(
    ("epochs", "asked", "stops"),
    [
        (1, [(32, 0.45), (40, 0.3)], {48: 1}),
        (2, [(32, 0.45), (40, 0.3)], {32: 1, 48: 2}),
        (3, [(32, 0.45), (40, 0.54)], {32: 1, 40: 2, 48: 3}),
        (3, [(32, 0.9), (40, 0.09)], {32: 2, 48: 3}),
        (40, [(32, 0.99)], {32: 39, 48: 40}),
        # As they were when the published network was trained.
        (130, [(32, 0.45), (40, 0.3)], {32: 58, 40: 98, 48: 130}),
    ],
)
def test_the_last_epoch_at_least_sees_the_images_as_they_are(epochs, asked, stops):
    found = stages(TrainingOptions(epochs=epochs, progressive_resizing=asked), (48, 48))
    assert {stage.size[0]: stage.stop for stage in found} == stops


@pytest.mark.parametrize("size", [48, 64])
def test_a_stage_that_is_not_smaller_is_refused(size):
    options = TrainingOptions(epochs=4, progressive_resizing=[(size, 0.5)])
    with pytest.raises(
        ParameterError, match=f"a stage of {size} pixels needs images of more .* these have 48"
    ):
        stages(options, (48, 48))


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20), st.integers(0, 19), st.integers(0, 19))
@settings(max_examples=60, deadline=None)
def test_shrinking_keeps_the_mean_and_the_range(seed, height, width, less, narrower):
    X = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    size = (max(1, height - less), max(1, width - narrower))
    found = shrink(X, size)
    assert found.shape == (2, *size, 3)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), X.mean(axis=(1, 2)), rtol=1e-5, atol=1e-3)
    assert found.min() >= X.min() - 1e-3
    assert found.max() <= X.max() + 1e-3


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_at_whole_factors_a_pixel_is_the_mean_of_its_block(seed, down, across, height, width):
    X = np.random.default_rng(seed).integers(0, 256, (2, height * down, width * across, 1), dtype=np.uint8)
    blocks = X.reshape(2, height, down, width, across, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(shrink(X, (height, width)), blocks, rtol=1e-5, atol=1e-3)


def test_parts_of_pixels_count_by_their_area():
    X = np.array([10, 20, 60], np.uint8).reshape(1, 1, 3, 1)
    # Each new pixel covers one old one and a half.
    expected = [(10 + 20 / 2) / 1.5, (20 / 2 + 60) / 1.5]
    np.testing.assert_allclose(shrink(X, (1, 2)).ravel(), expected, rtol=1e-6)


def test_images_of_that_size_are_not_touched():
    X = np.zeros((2, 8, 8, 1), np.uint8)
    assert shrink(X, (8, 8)) is X


def test_the_batches_of_an_epoch_have_the_size_of_its_stage():
    X = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    options = TrainingOptions(epochs=4, batch_size=4, progressive_resizing=[(4, 0.5), (6, 0.25)])
    feed = Batches(X, np.arange(10) % 2, np.arange(10), options)
    shapes = [feed.batch(number)[0].shape[1:3] for number in range(4 * feed.steps)]
    assert shapes == [(4, 4)] * 6 + [(6, 6)] * 3 + [(8, 8)] * 3
    # The images are shrunk, and neither replaced nor reordered.
    x, rows = feed.batch(0)
    np.testing.assert_array_equal(x, shrink(X[rows], (4, 4)))
    assert feed.size(99) == (8, 8), "asked about an epoch after the last"
