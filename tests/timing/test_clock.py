import gc
import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.timing import clock
from cnnboost.timing.clock import BackgroundLoad, Block, Timing, ratio, time_calls, turns

seconds = st.floats(1e-6, 10)
blocks = st.lists(seconds, min_size=1, max_size=6).map(lambda found: Block(found, sum(found)))


def timing(*rounds):
    return Timing(tuple(Block(list(found), sum(found)) for found in rounds))


class TestTiming:
    def test_what_is_said_of_known_durations(self):
        found = timing([0.1, 0.2, 0.3], [0.4, 0.5])
        assert found.quantile(50) == 0.3
        assert found.quantile(95) == pytest.approx(0.48)
        assert found.quantile(99) == pytest.approx(0.496)
        assert found.spread == pytest.approx(0.2 / 0.3)

    def test_two_threads_keep_two_cores_busy(self):
        assert Timing((Block([1.0], 2.0), Block([3.0], 6.0))).busy == 2

    @given(st.lists(blocks, min_size=1, max_size=5))
    def test_quantiles_are_in_order_and_within(self, rounds):
        found = Timing(tuple(rounds))
        low, high = min(found.seconds), max(found.seconds)
        values = [low, *(found.quantile(percent) for percent in (50, 95, 99)), high]
        assert all(b >= a * (1 - 1e-12) for a, b in itertools.pairwise(values))
        assert found.spread >= 0

    def test_equal_durations_have_no_spread(self):
        assert timing([2.0] * 5).spread == 0


class TestRatio:
    def test_a_round_that_was_disturbed_does_not_count(self):
        slow = timing([4.0, 4.0], [400.0], [4.0])
        fast = timing([2.0], [20.0, 20.0], [2.0])
        assert ratio(slow, fast) == 2

    def test_drift_that_hits_both_is_no_difference(self):
        drift = [1.0, 1.5, 2.0, 3.0]
        assert ratio(timing(*([3 * d] for d in drift)), timing(*([d] for d in drift))) == 3

    @given(st.lists(blocks, min_size=1, max_size=5))
    def test_against_itself(self, rounds):
        assert ratio(Timing(tuple(rounds)), Timing(tuple(rounds))) == 1

    def test_rounds_must_be_the_same(self):
        with pytest.raises(ValueError, match="argument 2"):
            ratio(timing([1.0], [1.0]), timing([1.0]))


class TestTurns:
    @given(st.integers(1, 8), st.integers(1, 12))
    def test_each_once_a_round_and_none_always_first(self, n, rounds):
        names = [f"path{i}" for i in range(n)]
        order = list(turns(names, rounds))
        assert len(order) == n * rounds
        of_round = [order[i * n : (i + 1) * n] for i in range(rounds)]
        assert all(sorted(found) == sorted(names) for found in of_round)
        assert len({found[0] for found in of_round}) == min(n, rounds)


class TestTimeCalls:
    def test_one_call_is_made_though_there_is_no_time(self):
        numbers = []
        assert len(time_calls(numbers.append, 0.0).seconds) == 1
        assert numbers == [0, 1]  # the first is not timed

    def test_the_most_is_the_most_and_calls_are_numbered(self):
        numbers = []
        found = time_calls(numbers.append, 60.0, most=7)
        assert numbers == list(range(8))
        assert len(found.seconds) == 7
        assert all(value >= 0 for value in found.seconds)
        assert found.cpu_seconds >= 0

    def test_garbage_is_collected_before_and_not_meanwhile(self):
        assert gc.isenabled()
        states = []
        time_calls(lambda _: states.append(gc.isenabled()), 60.0, most=3)
        assert states == [False] * 4
        assert gc.isenabled()

    def test_the_collector_is_on_again_after_an_error(self):
        with pytest.raises(ZeroDivisionError):
            time_calls(lambda number: 1 / number, 1.0)
        assert gc.isenabled()

    def test_every_call_is_timed_by_itself(self, monkeypatch):
        now = itertools.count()  # every look at the clock is a second later
        monkeypatch.setattr(clock.time, "perf_counter", lambda: float(next(now)))
        found = time_calls(lambda number: None, 10.0)
        assert found.seconds == [1.0] * len(found.seconds)
        assert len(found.seconds) == 4  # two looks around each call, one before it


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
    found = BackgroundLoad(tmp_path / "stat")
    stat(tmp_path / "stat", 10)  # two cores, 10 seconds each: 20, of which 5 are ours
    assert found.cores() == 1.5
    assert found.cores() == 0  # clocks that do not tick together make nothing negative


def test_a_system_that_does_not_say(tmp_path):
    assert BackgroundLoad(tmp_path / "stat").cores() is None
    (tmp_path / "stat").write_text("cpu 1 2 3\n")
    assert BackgroundLoad(tmp_path / "stat").cores() is None
