"""Many tasks: their results in order, without those that wait growing beyond a limit."""

import pytest

from cnnboost.cluster.tasks import AHEAD, WAITING, spread
from tests.waiting import wait_until

THREADS = 2


@pytest.fixture
def client():
    """A client of one worker of two threads in this process."""
    distributed = pytest.importorskip("distributed")
    options = {
        "n_workers": 1,
        "threads_per_worker": THREADS,
        "processes": False,
        "protocol": "tcp",
        "dashboard_address": None,
    }
    with (
        distributed.LocalCluster(host="127.0.0.1", **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_results_in_order_do_not_pile_up_behind_a_slow_task(client, tmp_path):
    most = AHEAD * (THREADS + WAITING)
    taken = 0

    def tasks():
        nonlocal taken
        for number in range(3 * most):
            taken += 1
            yield number, str(tmp_path / "last"), most - 1

    def work(number, mark, last):
        """The first task ends after the last one that may begin before it has ended."""
        from pathlib import Path

        if number == 0:
            wait_until(Path(mark).exists)
        if number == last:
            Path(mark).touch()
        return number

    results = spread(client, work, tasks(), what="numbers", ordered=True)
    assert next(results) == (0, 0)
    assert taken == most
    assert list(results) == [(number, number) for number in range(1, 3 * most)]
