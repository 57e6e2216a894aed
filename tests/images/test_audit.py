import json

import numpy as np
import pytest

from cnnboost.images import ImageSet, audit


@pytest.fixture
def images(rng) -> ImageSet:
    """20 images: 1 = 0 (same label, same split), 2 = 0 in test, 5 = 4 with another label, 7 mirrors 6."""
    X = rng.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
    y = np.zeros(20, dtype=int)
    X[1] = X[2] = X[0]
    X[5], y[5] = X[4], 1
    X[7] = X[6, :, ::-1]
    X[9], X[10] = 0, [1, 2, 3]
    splits = ["train"] * 20
    splits[2] = "test"
    return ImageSet.from_arrays(X, y, classes=["a", "b"], splits=splits)


def test_planted_faults_are_found(images):
    result = json.loads(json.dumps(audit(images)))
    exact, mirrored = result["duplicates"]["exact"], result["duplicates"]["exact_or_mirrored"]
    assert [group["ids"] for group in exact["across_splits"]] == [["row 1", "row 2", "row 3"]]
    assert exact["contradicting"] == [
        {"ids": ["row 5", "row 6"], "labels": ["a", "b"], "splits": ["train"] * 2}
    ]
    assert (exact["groups"], exact["surplus"]) == (2, 3)
    assert (exact["groups_across_splits"], exact["contradicting_groups"]) == (1, 1)
    assert (mirrored["groups"], mirrored["surplus"]) == (3, 4)
    assert result["constant"] == ["row 10", "row 11"]
    assert result["counts"] == {"train": {"a": 18, "b": 1}, "test": {"a": 1, "b": 0}}
    assert (result["n_images"], result["shape"], result["bad"]) == (20, [6, 5, 3], [])


def test_rows_are_those_of_the_set_and_not_of_the_source(images):
    result = audit(images.select([2, 6, 0, 9]))
    assert result["duplicates"]["exact"]["across_splits"][0]["ids"] == ["row 3", "row 1"]
    assert result["duplicates"]["exact_or_mirrored"]["groups"] == 1
    assert result["constant"] == ["row 10"]


@pytest.mark.fer2013
def test_the_published_faces(published_faces):
    result = audit(published_faces)
    assert result["n_images"] == 32_298
    assert result["counts"]["train"]["disgust"] == 436
    assert sum(result["counts"]["validation"].values()) == 3_589
    for duplicates in result["duplicates"].values():
        assert duplicates["groups"] == 1_273
        assert duplicates["surplus"] == 1_532
        assert duplicates["contradicting_groups"] == 47
        assert duplicates["groups_across_splits"] == 270
    assert len(result["constant"]) == 12
