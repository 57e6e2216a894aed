from itertools import pairwise

import numpy as np
import pytest

from cnnboost.images import pixels
from cnnboost.images.imageset import ImageSet
from cnnboost.images.pixels import CHUNKS, largest_chunk


@pytest.mark.parametrize(("side", "chunk"), [(8, 512), (48, 512), (96, 256), (224, 64), (1000, 1), (5000, 1)])
def test_fewer_large_images_are_worked_on_at_once(side, chunk):
    assert largest_chunk((side, side, 3)) == chunk
    assert all(larger % smaller == 0 for smaller, larger in pairwise(CHUNKS))


def test_chunks_of_a_set_are_no_larger(monkeypatch):
    images = ImageSet.from_arrays(np.zeros((20, 8, 8), np.uint8), ["a"] * 20)
    assert [len(X) for X in images.chunks()] == [20]
    monkeypatch.setattr(pixels, "_MOST_PIXELS", 8 * 64)
    assert [len(X) for X in images.chunks()] == [8, 8, 4]
