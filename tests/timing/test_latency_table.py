import csv

import numpy as np
import pytest

from cnnboost.timing import latency_table as goals
from cnnboost.timing import paths
from cnnboost.timing.clock import Block, Timing
from cnnboost.timing.latency_table import as_csv, goal_rows, latency_rows
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
    assert " ".join(found[0]) == (
        "batch all_images path measured calls p50_ms p95_ms p99_ms mean_ms spread images_per_s ratio "
        "ratio_to mflop_per_image gflop_per_s share_of_product_rate busy_cores accuracy agreement "
        "agreement_with"
    )
    assert len(found) == 18
    assert found[2]["p50_ms"] == "6"
    assert found[-1]["gflop_per_s"] == ""
    assert found[-1]["measured"] == "head only"


def timing(seconds):
    return Timing((Block([seconds], seconds),))


def measured(published, ours, plain, cnn):
    names = (goals.PUBLISHED, goals.OURS, goals.PLAIN, goals.OUR_CNN)
    return dict(zip(names, map(timing, (published, ours, plain, cnn)), strict=True))


def our_row(n, share=None):
    return {"path": goals.OURS, "batch": n, "all_images": n == 900, "share_of_product_rate": share}


@pytest.mark.parametrize(("program", "met"), [(0.5, True), (1.0, False)])
def test_every_goal_has_a_row(program, met):
    starts = {goals.PROGRAM: timing(program), goals.TENSORFLOW: timing(4.0)}
    timings = {1: measured(40.0, 0.1, 0.1, 0.07), 64: measured(40, 10, 9, 9), 900: measured(400, 100, 96, 99)}
    found = goal_rows(timings, [our_row(1), our_row(64), our_row(900, 0.8)], starts)
    assert [(row["what"], row["goal"], row["met"]) for row in found] == [
        ("batch 1: hybrid/predict over hybrid/onnx", "at least 300", True),
        ("batch 1: cnn/onnx over hybrid/onnx", "at least 0.8", False),
        ("batch 64: hybrid/predict over hybrid/onnx", "at least 5", False),
        ("all images: hybrid/onnx as a share of the matrix-product rate", "at least 0.75", True),
        ("batch 1: hybrid/plain-onnx over hybrid/onnx", "at least 0.95", True),
        ("batch 64: hybrid/plain-onnx over hybrid/onnx", "at least 0.95", False),
        ("all images: hybrid/plain-onnx over hybrid/onnx", "at least 0.95", True),
        ("fresh process: cnnboost predict of one image over import tensorflow", "at most 1/6", met),
    ]
    values = [row["value"] for row in found]
    assert values == pytest.approx([400, 0.7, 4, 0.8, 1, 0.9, 0.96, program / 4])
    few = goal_rows({8: measured(4, 1, 1, 1)}, [our_row(8)], starts)
    assert [row["what"].split(":")[0] for row in few] == ["batch 8", "fresh process"]
