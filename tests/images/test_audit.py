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
    found = audit(images)
    assert [group.ids for group in found.exact.groups] == [("row 1", "row 2", "row 3"), ("row 5", "row 6")]
    assert found.exact.surplus == 3
    assert [group.ids for group in found.exact.across_splits] == [("row 1", "row 2", "row 3")]
    (contradicting,) = found.exact.contradicting
    assert contradicting.ids == ("row 5", "row 6")
    assert contradicting.labels == ("a", "b")
    assert [group.ids for group in found.mirrored.groups][-1] == ("row 7", "row 8")
    assert found.mirrored.surplus == 4
    assert found.constant == ("row 10", "row 11")
    assert found.counts == {"train": {"a": 18, "b": 1}, "test": {"a": 1, "b": 0}}
    assert (found.n_images, found.shape) == (20, (6, 5, 3))


def test_rows_are_those_of_the_set_and_not_of_the_source(images):
    found = audit(images.select([7, 6, 3, 9]))
    assert found.exact.groups == ()
    assert [group.ids for group in found.mirrored.groups] == [("row 8", "row 7")]
    assert found.constant == ("row 10",)


def test_clean_images_are_clean(rng):
    X = rng.integers(0, 256, (30, 4, 4), dtype=np.uint8)
    found = audit(ImageSet.from_arrays(X, np.arange(30) % 2))
    assert (found.exact.groups, found.mirrored.groups, found.constant) == ((), (), ())


def test_a_symmetrical_image_is_no_pair_of_its_own():
    X = np.zeros((1, 4, 4), np.uint8)
    X[0, :, 1:3] = 9
    assert audit(ImageSet.from_arrays(X, ["a"])).mirrored.groups == ()


def test_as_json(images):
    told = json.loads(json.dumps(audit(images).to_dict()))
    assert told["duplicates"]["exact"]["groups"] == 2
    assert told["duplicates"]["exact"]["contradicting"][0]["labels"] == ["a", "b"]
    assert told["duplicates"]["exact_or_mirrored"]["surplus"] == 4
    assert told["counts"]["test"] == {"a": 1, "b": 0}
    assert told["constant"] == ["row 10", "row 11"]


@pytest.mark.fer2013
def test_the_published_faces(published_faces):
    found = audit(published_faces)
    assert found.n_images == 32_298
    assert found.counts["train"]["disgust"] == 436
    assert sum(found.counts["validation"].values()) == 3_589
    for duplicates in (found.exact, found.mirrored):
        assert len(duplicates.groups) == 1_273
        assert duplicates.surplus == 1_532
        assert len(duplicates.contradicting) == 47
        assert len(duplicates.across_splits) == 270
    assert len(found.constant) == 12
