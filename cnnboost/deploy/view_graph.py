"""Test-time views as a part of a graph: one pass over all views of all images, and the mean over them.

What a view is stands in `cnnboost.images.views`. The graph asks it: a view that moves pixels is made from
what it does to their numbers, one that interpolates from what it does to single lit rows and columns.
"""

from __future__ import annotations

import numpy as np

from cnnboost.deploy.draft import IMAGE, Draft
from cnnboost.deploy.network_graph import FLOAT
from cnnboost.images.views import TTA, check_tta, views


def add_views(draft: Draft, tta: str) -> str:
    """Add the views of the images.

    Parameters
    ----------
    draft : Draft
    tta : {"none", "flip", "shifts", "ten-crop"}
        See `cnnboost.images.views.views`.

    Returns
    -------
    str
        Float32 images `(k * batch, height, width, channels)` in [0, 255]; the k views of an image follow
        each other.

    Raises
    ------
    ParameterError
        If there is no such kind, or it leaves nothing of images of this size.
    """
    if TTA[check_tta(tta)] == 1:
        return draft.add("Cast", [IMAGE], to=FLOAT)
    height, width, channels = draft.shape
    numbers = np.arange(height * width, dtype=np.int32).reshape(1, height, width, 1)
    moved = np.concatenate(list(views(numbers, tta)))
    if moved.dtype == numbers.dtype:
        flat = draft.add("Reshape", [IMAGE, draft.constant([-1, height * width, channels], np.int64)])
        viewed = draft.add("Gather", [flat, draft.constant(moved[..., 0], np.int32)], axis=1)
        return draft.add("Cast", [_as_batch(draft, viewed)], to=FLOAT)
    down, across = _lit(height, tta, 1), _lit(width, tta, 2)
    planes = draft.add("Transpose", [draft.add("Cast", [IMAGE], to=FLOAT)], perm=[0, 3, 1, 2])
    planes = draft.add("Unsqueeze", [planes, draft.constant([1], np.int64)])
    planes = draft.add("MatMul", [draft.constant(down[:, None]), planes])
    planes = draft.add("MatMul", [planes, draft.constant(across.transpose(0, 2, 1)[:, None])])
    return _as_batch(draft, draft.add("Transpose", [planes], perm=[0, 1, 3, 4, 2]))


def add_mean(draft: Draft, probabilities: str, tta: str, n_classes: int) -> str:
    """Add the mean of the probabilities over the views of each image.

    Parameters
    ----------
    draft : Draft
    probabilities : str
        `(k * batch, n_classes)`.
    tta : str
    n_classes : int

    Returns
    -------
    str
        `(batch, n_classes)`.
    """
    count = TTA[tta]
    if count == 1:
        return probabilities
    apart = draft.add("Reshape", [probabilities, draft.constant([-1, count, n_classes], np.int64)])
    return draft.add("ReduceMean", [apart, draft.constant([1], np.int64)], keepdims=0)


def _as_batch(draft: Draft, viewed: str) -> str:
    return draft.add("Reshape", [viewed, draft.constant([-1, *draft.shape], np.int64)])


def _lit(size: int, tta: str, axis: int) -> np.ndarray:
    """Return matrices `(k, size, size)`: each view of a row (or column) of this many pixels.

    Rows and columns are interpolated one after the other, so an image as narrow as can be tells all.
    """
    lit = np.zeros((size, 1, 3, 1) if axis == 1 else (size, 3, 1, 1), np.float32)
    # Image i has line i lit. Of three pixels across, a crop leaves the one in the middle.
    lit = np.broadcast_to(lit, (size, size, 3, 1) if axis == 1 else (size, 3, size, 1)).copy()
    for i in range(size):
        lit[(i, i) if axis == 1 else (i, slice(None), i)] = 1
    found = [view[:, :, 1, 0] if axis == 1 else view[:, 1, :, 0] for view in views(lit, tta)]
    return np.stack(found).transpose(0, 2, 1)
