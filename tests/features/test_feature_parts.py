"""Features on the disk, read a block at a time."""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost import FeatureParts
from cnnboost.errors import DataError, FeatureError, StoreError
from cnnboost.features.feature_parts import ArrayPart
from cnnboost.features.store import FeatureSpec, FeatureStore
from tests.features.blocks import blocks_of

X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)


def write(folder: Path, array: np.ndarray, cuts=(), name: str = "part") -> list[Path]:
    """Write an array in parts that end at these rows."""
    paths = []
    for number, (start, stop) in enumerate(pairwise([0, *sorted(cuts), len(array)])):
        paths.append(folder / f"{name}-{number:03}.npy")
        np.save(paths[-1], array[start:stop])
    return paths


def stored(root: Path, rows: int = 60):
    spec = FeatureSpec("fc1", trunk="a", width=5, pixels="raw", images="b", rows=rows)
    [found] = FeatureStore(root, part_rows=16).extract([spec], lambda a, b, _: [X[a:b]], chunk=8)
    return found


@given(
    cuts=st.lists(st.integers(0, 60), max_size=6),
    block_rows=st.integers(1, 70),
    mask=st.none() | st.lists(st.booleans(), min_size=60, max_size=60),
    width=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_blocks_are_the_rows_however_they_lie_in_files(cuts, block_rows, mask, width):
    with tempfile.TemporaryDirectory() as name, blocks_of(block_rows * 4 * (5 + width)):
        parts = FeatureParts.open(write(Path(name), X, cuts))
        parts = parts.beside(FeatureParts.open(write(Path(name), X[:, :width], cuts[:2], "other")))
        whole = np.hstack([X, X[:, :width]])
        if mask is not None:
            parts, whole = parts[np.array(mask)], whole[np.array(mask)]
        assert (len(parts), parts.shape, parts.size) == (len(whole), whole.shape, whole.size)
        blocks = list(parts.blocks())
        assert len(blocks) == parts.n_blocks
        assert all(len(block) == block_rows for _, block in blocks[:-1])
        for start, block in blocks:
            np.testing.assert_array_equal(block, whole[start : start + len(block)])
        np.testing.assert_array_equal(np.asarray(parts), whole)


def test_rows_that_are_chosen_may_repeat_and_be_chosen_again(tmp_path):
    parts = FeatureParts.open(write(tmp_path, X, [7, 30]))
    chosen = parts[[0, 0, 29, 30, 59]][[1, 3]]
    np.testing.assert_array_equal(np.asarray(chosen), X[[0, 30]])
    with pytest.raises(IndexError, match="ascending"):
        parts[[3, 1]]
    with pytest.raises(IndexError, match="rows 0 to 60 of 60"):
        parts[[0, 60]]


def test_rows_below_and_an_array_beside(tmp_path):
    parts = FeatureParts.open(write(tmp_path, X))
    twice = parts.below(parts)
    both = twice.beside(FeatureParts([[ArrayPart(np.arange(120, dtype=np.float32)[:, None])]]))
    np.testing.assert_array_equal(np.asarray(both)[:, :5], np.vstack([X, X]))
    assert both.read(119, 120)[0, 5] == 119
    assert len(both.files) == 2
    with pytest.raises(FeatureError, match="cannot lie one below the other"):
        parts.below(both)
    with pytest.raises(FeatureError, match="60 and 120 rows"):
        parts.beside(twice)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8, np.bool_, ">f4"])
def test_other_numbers_become_float32(tmp_path, dtype):
    array = (X * 10).astype(dtype)
    np.testing.assert_array_equal(
        np.asarray(FeatureParts.open(write(tmp_path, array))), array.astype(np.float32)
    )


def test_a_folder_of_the_store_is_opened_by_its_manifest(tmp_path):
    found = stored(tmp_path)
    assert len(found.parts) == 4
    parts = FeatureParts.open(found.path)
    np.testing.assert_array_equal(np.asarray(parts), X)
    assert parts.files == found.parts
    with pytest.raises(StoreError, match=r"not a folder of features: its manifest\.json is missing"):
        FeatureParts.open(tmp_path)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.unlink(), r"part-00001\.npy cannot be read"),
        (lambda path: np.save(path, X[:16] + 1), r"part-00001\.npy was altered"),
        (lambda path: np.save(path, X[:15]), r"part-00001\.npy is not a whole file of float32 \(16, 5\)"),
        (lambda path: np.save(path, X[:16, :4]), r"part-00001\.npy is not a whole file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"part-00001\.npy is not a whole file"),
        (
            lambda path: (path.parent / "manifest.json").write_text("{}"),
            r"its manifest\.json is missing, damaged or altered",
        ),
    ],
    ids=["missing", "altered", "rows", "width", "cut off", "manifest"],
)
def test_a_folder_that_is_not_what_its_manifest_states(tmp_path, damage, complaint):
    found = stored(tmp_path)
    damage(found.parts[1])
    with pytest.raises(StoreError, match=complaint):
        FeatureParts.open(found.path)


def test_what_is_not_a_part_is_named(tmp_path):
    good, *_ = write(tmp_path, X)
    wrong = tmp_path / "wrong.npy"

    def opened(content) -> None:
        if isinstance(content, bytes):
            wrong.write_bytes(content)
        else:
            np.save(wrong, content)
        FeatureParts.open([good, wrong])

    with pytest.raises(FeatureError, match=r"wrong\.npy has 4 columns and .*part-000\.npy has 5"):
        opened(X[:, :4])
    with pytest.raises(FeatureError, match=r"holds float32 \(5,\); features are numbers of shape"):
        opened(X[0])
    with pytest.raises(FeatureError, match="holds <U1"):
        opened(np.array([["a"]]))
    with pytest.raises(FeatureError, match="stored column by column"):
        opened(np.asfortranarray(X))
    with pytest.raises(FeatureError, match=r"is not a \.npy file"):
        opened(b"PK\x03\x04 something else")
    with pytest.raises(FeatureError, match="is not a whole file"):
        opened(good.read_bytes()[:-3])
    with pytest.raises(StoreError, match=r"absent\.npy is missing"):
        FeatureParts.open([tmp_path / "absent.npy"])
    with pytest.raises(DataError, match="no files of features"):
        FeatureParts.open([])


@pytest.mark.parametrize("change", ["cut off", "written again", "removed"])
def test_a_file_that_changes_under_way_is_named(tmp_path, change):
    path, *_ = write(tmp_path, X)
    parts = FeatureParts.open(path)
    if change == "removed":
        path.unlink()
    elif change == "cut off":
        path.write_bytes(path.read_bytes()[:-8])
    else:
        np.save(path, X)
        os.utime(path, ns=(1, 1))
    with pytest.raises(StoreError, match=r"part-000\.npy (was changed while|cannot be read)"):
        parts.read(50, 60)


def test_rows_are_chosen_by_slices_and_whole_numbers_alone(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(20, dtype=np.float32).reshape(10, 2))
    parts = FeatureParts.open(tmp_path / "a.npy")
    np.testing.assert_array_equal(np.asarray(parts[2:9:3]), np.asarray(parts)[2:9:3])
    assert parts[[]].shape == (0, 2)
    with pytest.raises(IndexError, match="whole numbers or a mask, and these are float64"):
        parts[[0.7]]
