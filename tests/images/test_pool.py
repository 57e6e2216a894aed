import threading

import numpy as np
import pytest

from cnnboost.errors import BadInput, DataError
from cnnboost.images.decode import InputSpec, bad_input
from cnnboost.images.pool import decode_rows, first_shape, n_threads
from cnnboost.images.readers import Listing

SPEC = InputSpec(2, 2, 1)
N = 1000


def listing(image, shape=lambda _: SPEC) -> Listing:
    return Listing(
        ids=[f"row {row}" for row in range(N)],
        y=np.zeros(N, dtype=np.int64),
        classes=("a",),
        splits=np.full(N, "train"),
        shape=shape,
        image=image,
    )


def number(row, spec, resize):
    return np.full(spec, row % 251, dtype=np.uint8)


def decoders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("n_jobs", [1, 2, 7])
def test_rows_come_in_order_whatever_the_number_of_threads(n_jobs):
    seen = []
    chunks = list(
        decode_rows(listing(number), SPEC, resize=False, n_jobs=n_jobs, progress=lambda *a: seen.append(a))
    )
    rows = np.concatenate([chunk.rows for chunk in chunks])
    np.testing.assert_array_equal(rows, np.arange(N))
    np.testing.assert_array_equal(np.concatenate([c.pixels for c in chunks])[:, 0, 0, 0], rows % 251)
    assert seen[-1] == (N, N)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert decoders() == []


def test_bad_rows_are_left_out_and_named():
    def image(row, spec, resize):
        if row % 100 == 7:
            raise bad_input(f"row {row}", "is odd")
        return number(row, spec, resize)

    chunks = list(decode_rows(listing(image), SPEC, resize=False))
    rows = np.concatenate([chunk.rows for chunk in chunks])
    assert len(rows) == N - 10
    assert not np.any(rows % 100 == 7)
    assert [bad for chunk in chunks for bad in chunk.bad][1] == BadInput("row 107", "is odd")


def test_several_threads_really_work_at_once():
    meeting = threading.Barrier(2, timeout=20)

    def image(row, spec, resize):
        if row in (0, 256):  # the first rows of two chunks wait for each other
            meeting.wait()
        return number(row, spec, resize)

    assert sum(len(c.rows) for c in decode_rows(listing(image), SPEC, resize=False, n_jobs=2)) == N


def test_chunks_wait_to_be_asked_for():
    asked = []

    def image(row, spec, resize):
        asked.append(row)
        return number(row, spec, resize)

    big = InputSpec(1024, 1024, 1)  # one row a chunk
    chunks = decode_rows(listing(image), big, resize=False, n_jobs=2)
    next(chunks)
    chunks.close()
    assert len(asked) <= 6
    assert decoders() == []


def test_interruption_ends_all_threads():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(decode_rows(listing(number), SPEC, resize=False, n_jobs=2, progress=stop))
    assert decoders() == []


def test_an_error_of_our_own_is_not_taken_for_a_bad_row():
    def image(row, spec, resize):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(decode_rows(listing(image), SPEC, resize=False))


def test_first_shape_is_that_of_the_first_good_row():
    def shape(row):
        if row < 3:
            raise bad_input(f"row {row}", "is empty")
        return InputSpec(row, row, 3)

    assert first_shape(listing(number, shape)) == (3, 3, 3)

    def never(row):
        raise bad_input(f"row {row}", "is empty")

    with pytest.raises(DataError, match="none of 1000 images can be decoded: row 0 is empty") as caught:
        first_shape(listing(number, never))
    assert len(caught.value.bad) == N


def test_number_of_threads():
    assert n_threads(3) == 3
    assert n_threads(None) == n_threads(-1) >= 1
    with pytest.raises(ValueError, match="n_jobs=0"):
        n_threads(0)
