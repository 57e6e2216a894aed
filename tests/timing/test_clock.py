import gc
import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.timing import clock
from cnnboost.timing.clock import BackgroundLoad, Block, Timing, ratio, time_calls, turns


def timing(*rounds):
    return Timing(tuple(Block(seconds, 2 * sum(seconds)) for seconds in rounds))


def test_statistics_of_known_durations():
    known = timing([0.1, 0.2, 0.3], [0.4, 0.5])
    assert [known.quantile(percent) for percent in (50, 95, 99)] == pytest.approx([0.3, 0.48, 0.496])
    assert known.spread == pytest.approx(0.2 / 0.3)
    assert known.busy == pytest.approx(2)
    assert timing([2.0] * 5).spread == 0


def test_a_round_that_was_disturbed_does_not_count():
    slow = timing([4.0, 4.0], [400.0], [4.0])
    fast = timing([2.0], [20.0, 20.0], [2.0])
    assert ratio(slow, fast) == 2
    with pytest.raises(ValueError, match="argument 2"):
        ratio(slow, timing([1.0]))


@given(st.integers(1, 8), st.integers(1, 12))
def test_each_has_a_turn_once_a_round_and_none_is_always_first(n, rounds):
    names = [f"path{i}" for i in range(n)]
    order = list(turns(names, rounds))
    of_round = [order[i : i + n] for i in range(0, len(order), n)]
    assert len(of_round) == rounds
    assert all(sorted(one) == sorted(names) for one in of_round)
    assert len({one[0] for one in of_round}) == min(n, rounds)


@pytest.mark.parametrize(("seconds", "most", "calls"), [(0.0, 200, 1), (60.0, 7, 7)])
def test_calls_are_numbered_without_garbage_collection_and_the_first_is_not_timed(seconds, most, calls):
    seen = []
    block = time_calls(lambda number: seen.append((number, gc.isenabled())), seconds, most)
    assert seen == [(number, False) for number in range(calls + 1)]
    assert len(block.seconds) == calls
    assert min(block.seconds) >= 0
    assert block.cpu_seconds >= 0
    assert gc.isenabled()


def test_the_collector_is_on_again_after_an_error():
    with pytest.raises(ZeroDivisionError):
        time_calls(lambda number: 1 / number, 1.0)
    assert gc.isenabled()


def test_every_call_is_timed_by_itself(monkeypatch):
    now = itertools.count()  # every look at the clock is a second later
    monkeypatch.setattr(clock.time, "perf_counter", lambda: float(next(now)))
    # Two looks around each call, one before it.
    assert time_calls(lambda number: None, 10.0).seconds == [1.0] * 4


def test_rest_ends_when_nothing_runs(monkeypatch):
    naps = []
    monkeypatch.setattr(clock.time, "sleep", naps.append)
    ticks = itertools.count()
    monkeypatch.setattr(clock.time, "perf_counter", lambda: 0.01 * next(ticks))
    spinning = iter(np.repeat(np.arange(4) * 0.01, 2).tolist()[1:] + [0.03] * 10)
    monkeypatch.setattr(clock.time, "process_time", lambda: next(spinning))
    clock.rest()
    assert len(naps) == 4  # three times threads were spinning, then they were not


def stat(path, busy):
    """Write what Linux says of its cores, with so many seconds of work on each, and idle time besides."""
    ticks = int(busy * os.sysconf("SC_CLK_TCK"))
    cores = [f"cpu{n} {ticks} 0 0 99999 0 0 0 0 0 0" for n in range(os.cpu_count() + 64)]
    path.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 0 0", *cores, "intr 5", ""]))


def test_the_time_of_others_is_what_is_not_ours(tmp_path, monkeypatch):
    now = iter([100.0, 110.0, 110.0])
    own = iter([1.0, 6.0, 1e6])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(clock, "_own_seconds", lambda: next(own))
    monkeypatch.setattr(clock.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    stat(tmp_path / "stat", 0)
    load = BackgroundLoad(tmp_path / "stat")
    stat(tmp_path / "stat", 10)  # two cores, 10 seconds each: 20, of which 5 are ours
    assert load.cores() == 1.5
    assert load.cores() == 0  # clocks that do not tick together make nothing negative


def test_a_system_that_does_not_say(tmp_path):
    assert BackgroundLoad(tmp_path / "stat").cores() is None
    (tmp_path / "stat").write_text("cpu 1 2 3\n")
    assert BackgroundLoad(tmp_path / "stat").cores() is None
