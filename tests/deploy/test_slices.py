"""Batches in slices: every image once and in its place, by threads that share them evenly."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.deploy.slices import Slices


def means(X, first):
    return X.reshape(len(X), -1).mean(axis=1, keepdims=True).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 700), threads=st.integers(1, 5), side=st.sampled_from([8, 48, 200]))
def test_every_image_is_computed_once_and_in_its_place(n, threads, side):
    X = np.arange(n, dtype=np.int64).reshape(n, 1, 1, 1)
    seen, opened, lock = [], [], threading.Lock()

    def run(part, first):
        assert part[0, 0, 0, 0] == first
        with lock:
            seen.append(len(part))
        return means(part, first)

    def open_run():
        opened.append(1)
        return run

    slices = Slices(open_run, threads, side * side)
    assert not opened
    for _ in range(2):
        seen.clear()
        result = np.full((n, 1), -1, np.float32)
        slices(X, result)
        np.testing.assert_array_equal(result[:, 0], np.arange(n))
        assert max(seen) <= slices.most
        assert max(seen) - min(seen) <= 1  # the threads end at about the same time
        assert len(seen) % threads == 0 or len(seen) == n
    assert opened == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_error_of_the_first_bad_image_comes_out(threads):
    def run(part, first):
        if first >= 40:
            raise ValueError(f"image {first}")
        return means(part, first)

    slices = Slices(lambda: run, threads, 48 * 48)
    with pytest.raises(ValueError, match="image 4"):
        slices(np.zeros((200, 2, 2, 1)), np.empty((200, 1), np.float32))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_threads_of_its_own():
    slices = Slices(lambda: means, 2, 48 * 48)
    X = np.arange(100.0).reshape(100, 1, 1, 1)
    slices(X, np.empty((100, 1), np.float32))
    child = os.fork()
    if child == 0:
        result = np.empty((100, 1), np.float32)
        slices(X, result)
        os._exit(0 if (result[:, 0] == np.arange(100)).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
