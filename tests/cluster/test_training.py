"""Trees that grow on several workers: equal shares, classes that a worker lacks, workers that die."""

import os
import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cnnboost.cluster import training
from cnnboost.cluster.connection import connected, workers_of
from cnnboost.cluster.training import train
from cnnboost.errors import ClusterError, FeatureError
from tests.dask_processes import DaskProcesses
from tests.waiting import wait_until

PARAMS = {
    "objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss", "max_depth": 3, "seed": 0,
    "max_bin": 64,
}  # fmt: skip


@dataclass
class FileRows:
    """Rows in one file, which each worker reads its share of."""

    path: Path
    codes: np.ndarray
    weight: np.ndarray | None = None
    watched: bool = False
    range: slice | None = None
    fails: bool = False

    @property
    def shape(self):
        return len(self.codes), 5

    @property
    def most_shares(self):
        return len(self.codes)

    def share(self, number, count):
        from cloudpickle import register_pickle_by_value

        import tests.cluster.test_training as here

        register_pickle_by_value(here)  # workers have no tests
        start, stop = (len(self.codes) * at // count for at in (number, number + 1))
        return replace(self, range=slice(start, stop))

    def check(self):
        if self.fails and self.range.start:
            raise FeatureError("row 7 is NaN")

    def bins(self, n_threads):
        import xgboost

        return xgboost.QuantileDMatrix(np.load(self.path), max_bin=64, nthread=n_threads)

    def matrices(self, bins, n_threads):
        import xgboost

        X = np.load(self.path, mmap_mode="r")[self.range].copy()
        weight = None if self.weight is None else self.weight[self.range]
        train = xgboost.QuantileDMatrix(
            X, self.codes[self.range], weight=weight, max_bin=64, nthread=n_threads, ref=bins
        )
        return train, [(train, "validation")] if self.watched else []


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return rows sorted by class: at two workers, the second has none of the first class."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], [800, 800, 800])
    X = rng.normal(size=(len(codes), 5)).astype(np.float32)
    X[:, 0] += codes
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, X)
    return FileRows(path, codes)


def grow(client, rows, watched=False, rounds=10, patience=None, **params):
    given = replace(rows, watched=watched)
    return train(client, {**PARAMS, **params}, given, rounds=rounds, patience=patience)


def accuracy(booster, rows):
    return float((booster.inplace_predict(np.load(rows.path)).argmax(axis=1) == rows.codes).mean())


def test_trees_are_as_good_as_those_of_one_process(client, rows):
    import xgboost

    X = np.load(rows.path)
    alone = xgboost.train({**PARAMS, "nthread": 1}, xgboost.QuantileDMatrix(X, rows.codes, max_bin=64), 10)
    booster, losses = grow(client, rows)
    assert losses == []
    assert booster.num_boosted_rounds() == 10
    assert booster.inplace_predict(X).shape == (len(X), 3)
    assert abs(accuracy(booster, rows) - accuracy(alone, rows)) < 0.01


def test_watched_rows_end_the_growth_and_weights_count(client, rows):
    import xgboost

    booster, losses = grow(client, rows, True, rounds=300, patience=1, learning_rate=1.0, max_depth=1)
    assert len(losses) == booster.num_boosted_rounds()
    assert np.argmin(losses) in (len(losses) - 2, 299)
    found = xgboost.DMatrix(np.load(rows.path), rows.codes)
    assert float(booster.eval(found).split(":")[-1]) == pytest.approx(losses[-1], abs=1e-4)
    weight = np.where(rows.codes == 0, 0.001, 1).astype(np.float32)
    light, _ = grow(client, FileRows(rows.path, rows.codes, weight))
    assert light.inplace_predict(np.load(rows.path))[:800, 0].mean() < 0.2


def test_what_reading_raises_is_what_is_raised(client, rows):
    with pytest.raises(FeatureError, match="row 7 is NaN"):
        grow(client, replace(rows, fails=True))


def executing(dask_worker):
    return len(dask_worker.state.executing)


def variables(dask_scheduler):
    return list(dask_scheduler.extensions["variables"].variables)


def when_trees_are_kept(client, do):
    """Do something, in another thread, as soon as trees are kept with the scheduler."""

    def work():
        wait_until(lambda: client.run_on_scheduler(variables))
        do()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_worker_that_is_killed_costs_few_rounds(client, pids, rows, monkeypatch, caplog):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    thread = when_trees_are_kept(client, lambda: os.kill(next(iter(pids.values())), signal.SIGKILL))
    booster, losses = grow(client, rows, True, rounds=100, max_depth=6)
    thread.join()
    assert booster.num_boosted_rounds() == len(losses) == 100
    assert losses == sorted(losses, reverse=True)
    assert "it goes on from round" in caplog.text
    assert "from round 0" not in caplog.text
    wait_until(lambda: not client.run_on_scheduler(variables))
    wait_until(lambda: len(workers_of(client)) == 2)


def test_ctrl_c_leaves_nothing_running(client, rows, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    thread = when_trees_are_kept(client, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        grow(client, rows, rounds=100_000)
    thread.join()
    wait_until(lambda: not any(client.processing().values()))
    wait_until(lambda: not client.run_on_scheduler(variables))
    # The scheduler forgets at once; the workers themselves must have stopped too.
    wait_until(lambda: not any(client.run(executing).values()), 20)


@pytest.mark.slow
def test_where_all_workers_or_the_scheduler_die_the_fit_ends(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("cnnboost.cluster.connection.CONNECT_SECONDS", 1)
    processes = DaskProcesses(tmp_path)
    try:
        worker = processes.worker("--no-nanny")
        with connected(processes.address) as client:
            monkeypatch.setattr("cnnboost.cluster.connection.ANSWER_SECONDS", 3)
            thread = when_trees_are_kept(client, worker.kill)
            with pytest.raises(ClusterError, match="no worker has joined"):
                grow(client, rows, rounds=100_000)
            thread.join()
            processes.worker("--no-nanny")
            wait_until(lambda: workers_of(client))
            thread = when_trees_are_kept(client, processes.scheduler.kill)
            with pytest.raises(ClusterError, match=r"scheduler at .* does not answer"):
                grow(client, rows, rounds=100_000)
            thread.join()
    finally:
        processes.close()
