import os
import sys

import numpy as np
import pytest

from cnnboost.errors import CnnboostError
from cnnboost.timing.worker import Server, Worker, WorkerPool, time_starts

QUICK = ("hybrid/onnx", "hybrid/plain-onnx", "head/inplace")


def gone(worker):
    return worker._process.poll() is not None


class TestPool:
    def test_every_path_has_its_turns_in_a_process_of_its_own(self, source):
        turns = []
        with WorkerPool(QUICK, source._replace(threads=1)) as pool:
            sizes = {**dict.fromkeys(QUICK, 7), "product/numpy": 64, "product/onnxruntime": 64}
            found = pool.time(sizes, rounds=3, seconds=0.0, done=lambda: turns.append(1))
            threads = {path: worker.ask(do="threads") for path, worker in pool.workers.items()}
            processes = {worker._process.pid for worker in pool.workers.values()}
        assert {path: len(timing.seconds) for path, timing in found.items()} == dict.fromkeys(sizes, 3)
        assert len(turns) == 15
        assert threads == {
            "hybrid/onnx": {"onnxruntime": 1},
            "hybrid/plain-onnx": {"onnxruntime": 1},
            "head/inplace": {"xgboost": 1},
        }
        assert len(processes | {os.getpid()}) == 4
        assert all(gone(worker) for worker in pool.workers.values())

    def test_tensorflow_computes_with_so_many_threads(self, source):
        with WorkerPool(["hybrid/predict"], source._replace(threads=1)) as pool:
            assert pool.workers["hybrid/predict"].ask(do="threads") == {"tensorflow": 1, "xgboost": 1}

    def test_predictions_are_those_of_the_path(self, source, tmp_path):
        with WorkerPool(["hybrid/onnx", "head/dmatrix"], source) as pool:
            for path, worker in pool.workers.items():
                worker.ask(do="predict", out=str(tmp_path / f"{path.split('/')[0]}.npy"))
        hybrid, head = np.load(tmp_path / "hybrid.npy"), np.load(tmp_path / "head.npy")
        np.testing.assert_array_equal(hybrid.argmax(axis=1), head.argmax(axis=1))

    def test_one_that_cannot_start_is_named_and_the_others_end(self, source):
        broken = source._replace(hybrid_onnx="nowhere.onnx")
        pool = WorkerPool(["head/inplace", "hybrid/onnx"], broken)
        with pytest.raises(CnnboostError, match=r"hybrid/onnx ended with status 1: .*nowhere\.onnx"), pool:
            pass
        assert all(gone(worker) for worker in pool.workers.values())

    def test_all_end_when_the_caller_is_stopped(self, source):
        with pytest.raises(KeyboardInterrupt), WorkerPool(["hybrid/plain-onnx"], source) as pool:
            raise KeyboardInterrupt
        assert all(gone(worker) for worker in pool.workers.values())

    def test_a_process_that_dies_is_an_error(self, source):
        with WorkerPool(["hybrid/plain-onnx"], source) as pool:
            worker: Worker = pool.workers["hybrid/plain-onnx"]
            worker._process.kill()
            worker._process.wait()
            with pytest.raises(CnnboostError, match="hybrid/plain-onnx ended with status -9"):
                worker.time("hybrid/plain-onnx", 1, 0.0)


class TestServer:
    def test_each_call_takes_the_next_images(self, source):
        server = Server("hybrid/plain-onnx", source)
        seen = []
        server._run = seen.append
        call = server.call(server.path, 16)
        for number in range(4):
            call(number)
        X = np.load(source.images)
        assert [len(rows) for rows in seen] == [16] * 4
        np.testing.assert_array_equal(seen[1], X[16:32])
        assert type(seen[0]) is np.ndarray


class TestStart:
    def test_to_the_first_prediction_and_to_the_end(self, source):
        programs = {"nothing": [sys.executable, "-c", ""]}
        turns = []
        found = time_starts(["hybrid/onnx"], programs, source, rounds=2, done=lambda: turns.append(1))
        assert {name: len(t.seconds) for name, t in found.items()} == {"hybrid/onnx": 2, "nothing": 2}
        assert len(turns) == 4

    def test_a_process_that_fails_is_named(self, source):
        broken = {"broken": [sys.executable, "-c", "raise SystemExit('no such thing')"]}
        with pytest.raises(CnnboostError, match="'broken' ended with status 1: no such thing"):
            time_starts([], broken, source, rounds=1, done=lambda: None)
        with pytest.raises(CnnboostError, match=r"hybrid/onnx ended with status 1: .*nowhere"):
            time_starts(
                ["hybrid/onnx"], {}, source._replace(hybrid_onnx="nowhere"), rounds=1, done=lambda: None
            )
