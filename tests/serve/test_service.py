import asyncio
import tempfile
import threading

import numpy as np
import pytest
import requests
from starlette.requests import Request

from cnnboost import Predictor
from cnnboost.serve.limits import Limits, Refused
from cnnboost.serve.service import Service
from tests.deploy.small_graph import small_file
from tests.serve.conftest import pixels, png


@pytest.fixture
def service(toy_bundle):
    return Service(Predictor.load(toy_bundle, threads=1), Limits(), workers=1)


def request(content, kind="image/png"):
    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}, receive)


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


def test_files_of_a_form_are_never_written_to_a_disk(service, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError), tempfile.TemporaryFile():
        pass
    content = png(pixels(0, (1500, 1500)))
    assert len(content) > 1 << 21
    form = requests.Request("POST", "http://x", files=[("a", ("a.png", content)), ("b", ("b.png", content))])
    sent = form.prepare()
    asked = request(sent.body, sent.headers["Content-Type"])
    rows, failed = asyncio.run(during(service, lambda: service.predict(asked, False)))
    assert ([row["name"] for row in rows], failed) == (["a.png", "b.png"], 0)


@pytest.mark.parametrize("faces", [False, True])
def test_labels_that_are_numbers_are_answered_as_text(portrait, faces):
    numbers = Service(Predictor(small_file(classes=(7, 8, 9)), threads=1), Limits(), workers=1)
    (row,), failed = asyncio.run(during(numbers, lambda: numbers.predict(request(png(portrait)), faces)))
    (found,) = row["faces"] if faces else [row]
    assert failed == 0
    assert list(found["probabilities"]) == ["7", "8", "9"]
    assert found["label"] == max(found["probabilities"], key=found["probabilities"].get)


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
        with pytest.raises(Refused, match="the server has ended"):
            await asked
        leave.set()
        return (await service.predict(request(png(pixels(0))), False))[1]

    assert asyncio.run(during(service, ask)) == 0
    assert service.given_up == 1
    assert service.room.images == 0
