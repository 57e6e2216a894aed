import asyncio
import threading

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.serve.batches import Batches


def decode(content):
    if isinstance(content, int):
        raise TypeError("what no decoder should raise")
    if not content:
        raise DataError("empty")
    return np.frombuffer(content, np.uint8)


def run(ask, predict, **options):
    """Run `ask(batches)` with batches that predict."""
    sizes = []

    async def main():
        batches = Batches(decode, predict, **{"workers": 1, "most": 4, **options}, observe=sizes.append)
        batches.start()
        try:
            return await asyncio.wait_for(ask(batches), 60)
        finally:
            batches.stop()

    return asyncio.run(main()), sizes


class Gate:
    """A prediction that is at work until it is let go on."""

    def __init__(self):
        self.entered, self.leave = threading.Event(), threading.Event()

    def predict(self, X):
        self.entered.set()
        assert self.leave.wait(60)
        return X.astype(np.float32)

    async def first(self, batches):
        """Return a request whose batch is at work."""
        asked = asyncio.create_task(batches([b"\0"]))
        await asyncio.to_thread(self.entered.wait, 60)
        return asked


def test_what_arrives_while_a_batch_is_at_work_is_predicted_together():
    gate = Gate()

    async def ask(batches):
        first = await gate.first(batches)
        others = [asyncio.create_task(batches([bytes([i])])) for i in range(1, 10)]
        await asyncio.sleep(0)
        gate.leave.set()
        return [rows[0][0] for rows in await asyncio.gather(first, *others)]

    found, sizes = run(ask, gate.predict)
    assert found == list(range(10))
    assert sizes == [1, 4, 4, 1]


def test_the_images_of_a_request_come_back_in_order_and_bad_ones_in_their_places():
    async def ask(batches):
        images = [b"" if i % 7 == 3 else bytes([i]) if i % 2 else np.array([i], np.uint8) for i in range(50)]
        return await batches(images)

    found, _ = run(ask, lambda X: X.astype(np.float32), workers=3)
    assert [isinstance(row, DataError) for row in found] == [i % 7 == 3 for i in range(50)]
    assert [row[0] for i, row in enumerate(found) if i % 7 != 3] == [i for i in range(50) if i % 7 != 3]


def test_nothing_is_answered_with_nothing():
    async def ask(batches):
        return await batches([])

    assert run(ask, lambda X: X) == ([], [])


def test_an_error_of_the_engine_reaches_each_request_and_the_next_ones_are_served():
    def predict(X):
        if 9 in X:
            raise RuntimeError("broken")
        return X.astype(np.float32)

    async def ask(batches):
        for _ in range(2):
            with pytest.raises(RuntimeError, match="broken"):
                await batches([b"\1", b"\x09"])
        return await batches([b"\2"])

    found, _ = run(ask, predict)
    assert found[0] == 2


def test_an_image_that_breaks_the_decoder_fails_its_own_request_only():
    async def ask(batches):
        return await asyncio.gather(batches([b"\1"]), batches([3]), batches([b"\2"]), return_exceptions=True)

    (first, broken, last), _ = run(ask, lambda X: X.astype(np.float32))
    assert (first[0][0], last[0][0]) == (1, 2)
    assert isinstance(broken, TypeError)


def test_what_nobody_waits_for_is_not_predicted_at_the_end():
    gate = Gate()

    async def ask(batches):
        first = await gate.first(batches)
        gone = asyncio.create_task(batches([b"\1"] * 40))
        await asyncio.sleep(0)
        gone.cancel()
        gate.leave.set()
        await first

    assert run(ask, gate.predict)[1] == [1]


def test_a_client_that_has_gone_does_not_keep_the_others_from_their_answers():
    async def ask(batches):
        gone = asyncio.create_task(batches([b"\1"] * 40))
        await asyncio.sleep(0)
        gone.cancel()
        return await batches([b"\2"])

    found, _ = run(ask, lambda X: X.astype(np.float32))
    assert found[0] == 2
