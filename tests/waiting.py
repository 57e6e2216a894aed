"""Waiting for what another process or thread does: until it is seen, and no longer than a limit."""

import time


def wait_until(condition, seconds=120, process=None):
    """Look at a condition again and again; fail where it does not come true, or a process ends before it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the process ended before it came true"
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
