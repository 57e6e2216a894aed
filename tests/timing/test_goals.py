import pytest

from cnnboost.timing import goals
from cnnboost.timing.clock import Block, Timing


def timing(seconds):
    return Timing((Block([seconds], seconds),))


def measured(published, ours, plain, cnn):
    names = (goals.PUBLISHED, goals.OURS, goals.PLAIN, goals.OUR_CNN)
    return dict(zip(names, map(timing, (published, ours, plain, cnn)), strict=True))


STARTS = {goals.PROGRAM: timing(0.5), goals.TENSORFLOW: timing(4.0)}


def test_every_goal_has_a_row_and_is_judged():
    timings = {1: measured(40.0, 0.1, 0.1, 0.07), 64: measured(40, 10, 9, 9), 900: measured(400, 100, 96, 99)}
    rows = goals.goal_rows(timings, 0.8, STARTS, everything=900)
    assert [(row["what"], row["goal"], row["met"]) for row in rows] == [
        ("batch 1: hybrid/predict over hybrid/onnx", "at least 300", True),
        ("batch 1: cnn/onnx over hybrid/onnx", "at least 0.8", False),
        ("batch 64: hybrid/predict over hybrid/onnx", "at least 5", False),
        ("all images: hybrid/onnx as a share of the matrix-product rate", "at least 0.75", True),
        ("batch 1: hybrid/plain-onnx over hybrid/onnx", "at least 0.95", True),
        ("batch 64: hybrid/plain-onnx over hybrid/onnx", "at least 0.95", False),
        ("all images: hybrid/plain-onnx over hybrid/onnx", "at least 0.95", True),
        ("fresh process: cnnboost predict of one image over import tensorflow", "at most 1/6", True),
    ]
    assert [row["value"] for row in rows] == pytest.approx([400, 0.7, 4, 0.8, 1, 0.9, 0.96, 0.125])


def test_what_was_not_measured_has_no_row():
    rows = goals.goal_rows({8: measured(4, 1, 1, 1)}, 0.0, STARTS, everything=900)
    assert [row["what"].split(":")[0] for row in rows] == ["batch 8", "fresh process"]


def test_a_slow_start_is_not_met():
    slow = {goals.PROGRAM: timing(1.0), goals.TENSORFLOW: timing(4.0)}
    assert not goals.goal_rows({}, 0.0, slow, everything=9)[-1]["met"]
