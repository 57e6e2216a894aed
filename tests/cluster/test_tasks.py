"""Many tasks on workers, a few at a time: each of them is done, or a sentence says why not."""

import os
import time

import pytest

from cnnboost.cluster.tasks import AHEAD, WAITING, TaskCancelled, check_wanted, is_cancelled, spread
from cnnboost.errors import ClusterError, FeatureError, StoreError
from tests.waiting import wait_until

# Workers have no tests: what they are to do is defined inside of functions, and sent whole.


def test_every_task_is_done_and_no_more_are_drawn_than_workers_take_up(client):
    drawn = []

    def tasks():
        for number in range(40):
            drawn.append(number)
            yield number, 1

    spreading = spread(client, lambda number, more: number + more, tasks(), what="sums")
    found = [next(spreading)]
    assert len(drawn) == 2 * (1 + WAITING)
    found += spreading
    assert sorted(found) == [(number, number + 1) for number in range(40)]
    assert list(spread(client, len, (), what="sums")) == []


def test_results_in_order_do_not_pile_up_behind_a_slow_task(client, tmp_path):
    most = AHEAD * 2 * (1 + WAITING)
    taken = 0

    def tasks():
        nonlocal taken
        for number in range(3 * most):
            taken += 1
            yield number, str(tmp_path / "last"), most - 1

    def work(number, mark, last):
        """The first task ends after the last one that may begin before it has ended."""
        from pathlib import Path

        while number == 0 and not Path(mark).exists():
            check_wanted()
            time.sleep(0.02)
        if number == last:
            Path(mark).touch()
        return number

    results = spread(client, work, tasks(), what="numbers", ordered=True)
    assert next(results) == (0, 0)
    assert taken == most
    assert list(results) == [(number, number) for number in range(1, 3 * most)]


def test_what_a_task_raises_is_what_is_raised(client):
    def not_finite(number):
        raise FeatureError(f"row {number} is NaN")

    def divide(number):
        return 1 / number

    with pytest.raises(FeatureError, match="row 7 is NaN"):
        list(spread(client, not_finite, [(7,)], what="rows"))
    with pytest.raises(
        ClusterError, match="a worker could not make rows: ZeroDivisionError: division by zero"
    ):
        list(spread(client, divide, [(0,)], what="rows"))


def test_a_worker_that_refuses_gets_no_more(client, pids, caplog):
    refusing, able = sorted(pids)

    def work(number):
        from distributed import get_worker

        if get_worker().address == refusing:
            raise OSError(28, "No space left on device")
        return get_worker().address

    found = dict(spread(client, work, [(number,) for number in range(10)], what="parts"))
    assert found == dict.fromkeys(range(10), able)
    assert caplog.text.count(f"worker {refusing} makes no more parts: ") == 1
    assert "No space left on device" in caplog.text


def test_what_every_worker_refuses_is_told(client):
    def work(number):
        raise MemoryError

    with pytest.raises(StoreError, match="MemoryError"):
        list(spread(client, work, [(0,), (1,)], what="parts"))


def test_a_task_that_its_workers_die_of_is_given_up(client, monkeypatch):
    def allow(failures, dask_scheduler):
        before, dask_scheduler.allowed_failures = dask_scheduler.allowed_failures, failures
        return before

    before = client.run_on_scheduler(allow, 0)
    try:
        with pytest.raises(
            ClusterError, match=r"one task of the parts was begun .* each of them died.*memory"
        ):
            list(spread(client, lambda number: os._exit(1), [(0,)], what="parts"))
    finally:
        client.run_on_scheduler(allow, before)
        wait_until(lambda: len(client.nthreads()) == 2)


def test_tasks_that_nobody_waits_for_any_more_stop(client, tmp_path):
    def work(mark):
        from pathlib import Path

        Path(f"{mark}-begun").touch()
        try:
            while True:
                check_wanted()
                time.sleep(0.05)
        except TaskCancelled:
            Path(f"{mark}-stopped").touch()
            raise

    def tasks():
        yield (str(tmp_path / "long"),)
        wait_until(lambda: (tmp_path / "long-begun").exists())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(spread(client, work, tasks(), what="parts"))
    wait_until(lambda: (tmp_path / "long-stopped").exists())
    assert not is_cancelled()  # this is no task
