import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.cnn.batches import Batches, shrink, stages
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError
from cnnboost.images.augment import Augmentation

AUGMENT = {"rotation": 20, "shift": 0.2}


def numbered(n, shape=(4, 4, 1)):
    """Images that carry their own row number."""
    X = np.zeros((n, *shape), np.uint8)
    X[:] = np.arange(n, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return X


def feed_of(codes, X=None, targets=None, weight=None, pixels="raw", **options):
    codes = np.asarray(codes)
    X = numbered(len(codes)) if X is None else X
    return Batches(
        X, codes, codes if targets is None else targets, TrainingOptions(**options), weight, pixels
    )


def shown(feed, epoch):
    return np.concatenate([feed.batch(epoch * feed.steps + i)[0] for i in range(feed.steps)])


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    feed = feed_of(np.arange(20) % 3, batch_size=8, weight=np.arange(20.0))
    assert feed.steps == 3
    orders = []
    for epoch in range(3):
        parts = [feed.batch(epoch * 3 + i) for i in range(3)]
        assert [len(x) for x, _, _ in parts] == [8, 8, 4]
        x, y, w = (np.concatenate(values) for values in zip(*parts, strict=True))
        rows = x[:, 0, 0, 0]
        assert sorted(rows) == list(range(20))
        np.testing.assert_array_equal(y, rows % 3)
        np.testing.assert_array_equal(w, rows)
        orders.append(tuple(rows))
    assert len(set(orders)) == 3
    assert orders[0] != tuple(shown(feed_of(np.arange(20) % 3, batch_size=8, seed=1), 0)[:, 0, 0, 0])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_balancing_shows_every_class_as_often_as_the_largest(codes, epoch, seed):
    feed = feed_of(codes, balance=True, seed=seed)
    rows, copies = feed._order(epoch)
    counts = np.bincount(codes)
    np.testing.assert_array_equal(np.bincount(np.array(codes)[rows])[counts > 0], counts.max())
    times = np.bincount(rows, minlength=len(codes))
    for code in np.unique(codes):
        of_class = times[np.array(codes) == code]
        assert of_class.min() >= 1
        assert of_class.max() - of_class.min() <= 1
    pairs = set(zip(rows.tolist(), copies.tolist(), strict=True))
    assert len(pairs) == len(rows), "every copy has its own number"


def test_copies_of_an_image_differ_and_the_first_is_that_of_an_unbalanced_epoch():
    X = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
    feed = feed_of([0, 1, 1, 1, 1, 1], X, balance=True, augment=AUGMENT, batch_size=100)
    assert not np.array_equal(feed._order(1)[0], feed._order(2)[0])
    rows, copies = feed._order(2)
    x, _ = feed.batch(2)
    of_first = x[rows == 0]
    assert len(np.unique(of_first.reshape(5, -1), axis=0)) == 5
    augment = Augmentation(**AUGMENT)
    first = augment.apply(X[:1], seed=0, epoch=2, index=[0])
    np.testing.assert_array_equal(x[(rows == 0) & (copies == 0)], first)


def test_augmentation_is_that_of_the_images_room_whatever_the_batch_size():
    X = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
    expected = Augmentation(**AUGMENT).apply(X, seed=4, epoch=1)
    for size in (1, 7, 64):
        feed = feed_of(np.arange(30) % 2, X, augment=AUGMENT, batch_size=size, seed=4)
        np.testing.assert_array_equal(shown(feed, 1), expected[feed._order(1)[0]])
    floats = feed_of(np.arange(30) % 2, X.astype(np.float32) + 0.2, augment=AUGMENT, batch_size=7, seed=4)
    np.testing.assert_array_equal(shown(floats, 1), expected[floats._order(1)[0]])


@pytest.mark.parametrize(("pixels", "expected"), [("unit", 51 / 255), ("symmetric", 51 / 127.5 - 1)])
def test_pixels_are_scaled_after_the_change(pixels, expected):
    X = np.full((4, 8, 8, 1), 51, np.uint8)
    x, _ = feed_of([0, 1, 0, 1], X, augment=AUGMENT, pixels=pixels).batch(0)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_mixup_blends_images_and_targets_alike():
    codes, X = np.arange(64) % 2, np.zeros((64, 2, 2, 1), np.uint8)
    X[codes == 1] = 200
    feed = feed_of(codes, X, targets=np.eye(2, dtype=np.float32)[codes], mixup=0.4)
    x, y = feed.batch(0)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0, 0, 0] / 200, y[:, 1], atol=1e-6)
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)
    assert ((y > 0.01) & (y < 0.99)).any()
    np.testing.assert_array_equal(y.argmax(axis=1), codes[feed._order(0)[0]])
    np.testing.assert_array_equal(feed.batch(0)[0], x)
    assert (feed.batch(1)[1] != y).any()


def test_mixup_keeps_the_weight_of_each_part():
    codes = np.arange(64) % 2
    weight = np.where(codes, 5.0, 1.0).astype(np.float32)
    options = {
        "X": np.zeros((64, 2, 2, 1), np.uint8),
        "targets": np.eye(2, dtype=np.float32)[codes],
        "mixup": 0.4,
    }
    _, plain = feed_of(codes, **options).batch(0)
    _, y, w = feed_of(codes, **options, weight=weight).batch(0)
    np.testing.assert_allclose(y * w[:, None], plain * [1.0, 5.0], rtol=1e-5, atol=1e-6)


def test_the_dataset_starts_anywhere_and_is_asked_twice_for_the_first():
    feed = feed_of(np.arange(20) % 3, batch_size=8, augment=AUGMENT)
    with feed.dataset(first=4) as batches:
        for i in (0, 1, 0, 1, 2, 3, 9):
            for found, expected in zip(batches[i], feed.batch(4 + i), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_what_goes_wrong_in_the_thread_is_seen():
    feed = feed_of(np.arange(20) % 3, X=numbered(10), batch_size=8)
    with feed.dataset() as batches, pytest.raises(IndexError):
        [batches[i] for i in range(3)]


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
        # A share is kept to within one epoch, but for the last one of full images.
        share = dict(asked).get(stage.size[0], 1 - sum(shares))
        assert abs(stage.stop - stage.start - share * epochs) <= 1.5 or stage is found[-1]
        assert stage.full == (stage is found[-1]) == (stage.size == (48, 36))
    assert found[-1].stop > found[-1].start or not epochs


@pytest.mark.parametrize(
    ("epochs", "asked", "stops"),
    [
        (1, [(32, 0.45), (40, 0.3)], {48: 1}),
        (3, [(32, 0.9), (40, 0.09)], {32: 2, 48: 3}),
        # As they were when the published network was trained.
        (130, [(32, 0.45), (40, 0.3)], {32: 58, 40: 98, 48: 130}),
    ],
)
def test_the_last_epoch_at_least_sees_the_images_as_they_are(epochs, asked, stops):
    found = stages(TrainingOptions(epochs=epochs, progressive_resizing=asked), (48, 36))
    assert {stage.size[0]: stage.stop for stage in found} == stops
    assert {stage.size for stage in found} <= {(32, 24), (40, 30), (48, 36)}


def test_a_stage_that_is_not_smaller_is_refused():
    options = TrainingOptions(epochs=4, progressive_resizing=[(48, 0.5)])
    with pytest.raises(ParameterError, match=r"a stage of 48 pixels needs images of more .* these have 48"):
        stages(options, (48, 48))


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20), st.integers(0, 19), st.integers(0, 19))
@settings(max_examples=60, deadline=None)
def test_shrinking_keeps_the_mean_and_the_range(seed, height, width, less, narrower):
    X = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    size = (max(1, height - less), max(1, width - narrower))
    found = shrink(X, size)
    assert found.shape == (2, *size, 3)
    assert (found is X) == (size == (height, width))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), X.mean(axis=(1, 2)), rtol=1e-5, atol=1e-3)
    assert found.min() >= X.min() - 1e-3
    assert found.max() <= X.max() + 1e-3


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_at_whole_factors_a_pixel_is_the_mean_of_its_block(seed, down, across, height, width):
    X = np.random.default_rng(seed).integers(0, 256, (2, height * down, width * across, 1), dtype=np.uint8)
    blocks = X.reshape(2, height, down, width, across, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(shrink(X, (height, width)), blocks, rtol=1e-5, atol=1e-3)
    # Elsewhere a new pixel covers parts of old ones: here one and a half.
    thirds = np.array([10, 20, 60], np.uint8).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(shrink(thirds, (1, 2)).ravel(), [20 / 1.5, 70 / 1.5], rtol=1e-6)


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
