import asyncio
import threading

import numpy as np
import pytest
from starlette.requests import Request

from cnnboost import Predictor
from cnnboost.serve.limits import Limits
from cnnboost.serve.service import Service
from tests.serve.conftest import pixels, png


@pytest.fixture
def service(toy_bundle):
    return Service(Predictor.load(toy_bundle, threads=1), Limits(), workers=1)


def request(content):
    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", b"image/png")]}, receive)


async def during(service, ask):
    service.batches.start()
    try:
        return await asyncio.wait_for(ask(), 60)
    finally:
        service.close()


@pytest.mark.parametrize(
    ("size", "thread"), [((8, 8), "predict"), ((1024, 1024), "predict"), ((1025, 1024), "decode")]
)
def test_a_small_file_of_many_pixels_is_decoded_apart(service, size, thread):
    decode, threads = service._decode, []

    def noted(content):
        threads.append(threading.current_thread().name)
        return decode(content)

    service._decode = service.batches._decode = noted
    content = png(np.zeros(size, np.uint8))
    assert len(content) < 1 << 16
    rows, failed = asyncio.run(during(service, lambda: service.predict(request(content), False)))
    assert (len(rows), failed) == (1, 0)
    assert [name[: len(thread)] for name in threads] == [thread]


def test_what_is_given_up_is_counted(service):
    entered, leave = threading.Event(), threading.Event()
    predict = service.batches._predict

    def slow(X):
        entered.set()
        assert leave.wait(60)
        return predict(X)

    service.batches._predict = slow

    async def ask():
        asked = asyncio.create_task(service.predict(request(png(pixels(0))), False))
        await asyncio.to_thread(entered.wait, 60)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        leave.set()
        return (await service.predict(request(png(pixels(0))), False))[1]

    assert asyncio.run(during(service, ask)) == 0
    assert service.given_up == 1
    assert service.room.images == 0
