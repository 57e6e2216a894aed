import threading

import numpy as np
import pytest

from cnnboost.errors import DataError, StoreError, UnreadError
from cnnboost.images.decode import InputSpec, bad_input
from cnnboost.images.pool import decode_all, n_threads, watched

SPEC = InputSpec(2, 2, 1)
N = 1000


def number(item, spec=SPEC):
    return np.full(spec, item % 251, dtype=np.uint8)


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")] == []


@pytest.mark.parametrize("n_jobs", [1, 2, 7])
def test_items_come_in_order_whatever_the_number_of_threads(n_jobs):
    batches = list(decode_all(range(N), number, SPEC, n_jobs))
    assert [item for batch in batches for item in batch.items] == list(range(N))
    pixels = np.concatenate([batch.pixels for batch in batches])
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], np.arange(N) % 251)


def test_bad_items_are_named_and_their_pixels_left_out():
    faults = {
        7: bad_input("x", "is odd"),
        107: DataError("x: is odd"),
        207: PermissionError(13, "Permission denied"),
        307: TimeoutError(),
    }

    def decode(item):
        if item in faults:
            raise faults[item]
        return number(item)

    batches = list(decode_all(range(N), decode, SPEC))
    errors = [error for batch in batches for error in batch.errors]
    assert {item: error for item, error in enumerate(errors) if error} == {
        7: "is odd",
        107: "x: is odd",
        207: "cannot be read (Permission denied)",
        307: "cannot be read (TimeoutError)",
    }
    assert sum(len(batch.pixels) for batch in batches) == N - len(faults)


@pytest.mark.parametrize("n_jobs", [1, 7])
def test_images_in_a_row_that_cannot_be_read_are_counted_one_by_one(n_jobs):
    def decode(item):
        if item >= 600 or 500 <= item < 531:
            raise bad_input(f"{item}", f"cannot be read ({item})", UnreadError)
        return number(item)

    seen = watched(decode_all(range(N), decode, SPEC, n_jobs), "x", N, None)
    with pytest.raises(
        UnreadError, match=r"x: 32 images in a row could not be read \(the last one .*\(631\)\)"
    ):
        list(seen)


def test_several_threads_really_work_at_once():
    meeting = threading.Barrier(2, timeout=20)

    def decode(item):
        if item in (0, 256):  # the first items of two batches wait for each other
            meeting.wait()
        return number(item)

    assert sum(len(batch.items) for batch in decode_all(range(N), decode, SPEC, 2)) == N


def test_only_a_few_batches_are_decoded_ahead():
    big, asked = InputSpec(2048, 2048, 1), []  # one image a batch

    def decode(item):
        asked.append(item)
        return number(item, big)

    batches = decode_all(iter(range(N)), decode, big, 2)
    next(batches)
    batches.close()
    assert len(asked) <= 6


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, StoreError])
def test_other_errors_are_raised(error):
    def decode(item):
        raise error

    with pytest.raises(error):
        list(decode_all(range(N), decode, SPEC, 2))


def test_number_of_threads():
    assert n_threads(3) == 3
    assert n_threads(None) == n_threads(-1) >= 1
    with pytest.raises(ValueError, match="n_jobs=0"):
        n_threads(0)
