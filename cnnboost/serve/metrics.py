"""What the server counts and times, as Prometheus reads it."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cnnboost.serve.limits import Room

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self, room: Room) -> None:
        own = CollectorRegistry()
        self._registry = own
        self._requests = Counter(
            "cnnboost_requests", "Requests that were answered.", ["path", "status"], registry=own
        )
        self._seconds = Histogram(
            "cnnboost_request_seconds", "From headers to answer.", ["path"], registry=own, buckets=_SECONDS
        )
        self._images = Counter("cnnboost_images", "Images by what became of them.", ["outcome"], registry=own)
        self._predicted = self._images.labels("predicted")
        self._refused = self._images.labels("refused")
        self._faces = Counter("cnnboost_faces", "Faces that were found.", registry=own)
        self.batch = Histogram(
            "cnnboost_batch_images", "Images that were predicted together.", registry=own, buckets=_SIZES
        ).observe
        for name, words, read in (
            ("cnnboost_waiting_images", "Images that are waited for.", lambda: room.images),
            ("cnnboost_held_bytes", "Bytes of bodies in memory.", lambda: room.bytes),
        ):
            Gauge(name, words, registry=own).set_function(read)

    def images(self, predicted: int, refused: int, faces: int = 0) -> None:
        """Count the images of a request."""
        self._predicted.inc(predicted)
        self._refused.inc(refused)
        self._faces.inc(faces)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Return all of them in the text format."""
        return generate_latest(self._registry)


class Counted:
    """The application with each of its requests counted, and headers that every answer has.

    Requests for places that do not exist are counted under one name, however many names a client invents.
    """

    HEADERS = (
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )

    def __init__(self, app: Any, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def counted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *self.HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.request(path, status, time.perf_counter() - started)
