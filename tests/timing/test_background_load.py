import os

from cnnboost.timing import background_load as neighbours
from cnnboost.timing.background_load import BackgroundLoad


def stat(path, busy):
    """Write what Linux says of its cores, with so many seconds of work on each, and idle time besides."""
    ticks = int(busy * os.sysconf("SC_CLK_TCK"))
    cores = [f"cpu{n} {ticks} 0 0 99999 0 0 0 0 0 0" for n in range(os.cpu_count() + 64)]
    path.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 0 0", *cores, "intr 5", ""]))


def test_the_time_of_others_is_what_is_not_ours(tmp_path, monkeypatch):
    now = iter([100.0, 110.0, 110.0])
    own = iter([1.0, 6.0, 1e6])
    monkeypatch.setattr(neighbours.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(neighbours, "_own", lambda: next(own))
    monkeypatch.setattr(neighbours.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    stat(tmp_path / "stat", 0)
    found = BackgroundLoad(tmp_path / "stat")
    stat(tmp_path / "stat", 10)  # two cores, 10 seconds each: 20, of which 5 are ours
    assert found.cores() == 1.5
    assert found.cores() == 0  # clocks that do not tick together make nothing negative


def test_a_system_that_does_not_say(tmp_path):
    assert BackgroundLoad(tmp_path / "stat").cores() is None
    (tmp_path / "stat").write_text("cpu 1 2 3\n")
    assert BackgroundLoad(tmp_path / "stat").cores() is None
