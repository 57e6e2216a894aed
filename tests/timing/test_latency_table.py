import csv

import numpy as np
import pytest

from cnnboost.timing import paths
from cnnboost.timing.clock import Block, Timing
from cnnboost.timing.latency_table import COLUMNS, as_csv, latency_rows
from cnnboost.timing.limits import Operations

LABELS = np.array([0, 1, 2, 0])
SECONDS = {path: 0.001 * (i + 1) for i, path in enumerate(paths.PATHS)}


@pytest.fixture
def rows():
    right = np.eye(3)[LABELS]
    wrong = np.eye(3)[[0, 1, 0, 1]]
    off = np.eye(3)[[0, 1, 0, 0]]
    given = dict.fromkeys(paths.PATHS, right) | {"cnn/predict": wrong, "hybrid/onnx": off}
    timings = {
        n: {path: Timing((Block([n * s], n * s), Block([n * s], 2 * n * s))) for path, s in SECONDS.items()}
        for n in (2, 4)
    }
    operations = {"cnn": Operations(3_000_000), "hybrid": Operations(2_000_000, ("odd (Odd)",))}
    return latency_rows(timings, given, LABELS, operations, 10e9)


def of(rows, path, n=2):
    return next(row for row in rows if (row["path"], row["batch"]) == (path, n))


def test_one_row_for_each_path_and_batch(rows):
    assert [(row["batch"], row["path"]) for row in rows] == [(n, p) for n in (2, 4) for p in paths.PATHS]
    assert all(tuple(row) == COLUMNS for row in rows)
    assert [row["all_images"] for row in rows] == [False] * 9 + [True] * 9


def test_accuracy_is_against_the_labels_agreement_against_the_reference(rows):
    assert of(rows, "cnn/predict")["accuracy"] == 0.5
    assert of(rows, "cnn/predict")["agreement"] == 1
    assert of(rows, "cnn/onnx")["accuracy"] == 1
    assert of(rows, "cnn/onnx")["agreement"] == 0.5
    assert of(rows, "hybrid/onnx")["accuracy"] == of(rows, "hybrid/onnx")["agreement"] == 0.75
    assert of(rows, "head/inplace")["agreement"] == 1


def test_times_and_what_follows_from_them(rows):
    row = of(rows, "cnn/onnx")  # 2 images in 6 ms
    assert row["p50_ms"] == row["p95_ms"] == row["p99_ms"] == row["mean_ms"] == pytest.approx(6)
    assert (row["calls"], row["spread"], row["busy_cores"]) == (2, 0, pytest.approx(1.5))
    assert row["images_per_s"] == pytest.approx(2 / 0.006)
    assert (row["ratio"], row["ratio_to"]) == (pytest.approx(1 / 3), "cnn/predict")
    assert row["gflop_per_s"] == pytest.approx(1)
    assert row["share_of_product_rate"] == pytest.approx(0.1)
    assert of(rows, "hybrid/predict")["mflop_per_image"] == 2


def test_a_head_is_head_only_and_has_no_share(rows):
    row = of(rows, "head/inplace")
    assert (row["measured"], row["ratio_to"]) == ("head only", "head/dmatrix")
    assert row["mflop_per_image"] is row["gflop_per_s"] is row["share_of_product_rate"] is None
    assert of(rows, "hybrid/onnx")["measured"] == "image to probabilities"


def test_as_csv(rows):
    found = list(csv.DictReader(as_csv(rows).splitlines()))
    assert tuple(found[0]) == COLUMNS
    assert len(found) == 18
    assert found[2]["p50_ms"] == "6"
    assert found[-1]["gflop_per_s"] == ""
    assert found[-1]["measured"] == "head only"
