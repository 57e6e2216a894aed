"""From a request to rows: its images are read within the limits, decoded and predicted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import DataError
from cnnboost.faces.detector import can_find_faces
from cnnboost.images.decode import claimed_pixels, decode_image, open_image
from cnnboost.images.pool import n_threads
from cnnboost.serve.batches import Batches, Result
from cnnboost.serve.limits import Limits, Refused, Room, Share
from cnnboost.serve.metrics import Metrics

#: Bytes and pixels of an image file that is decoded by the threads that predict: passing it to others takes
#: longer. A file of few bytes may have many pixels.
_SMALL, _SMALL_PIXELS = 1 << 16, 1 << 20
_MOST_IN_BATCH = 32
_LONGEST_NAME = 255
_PLACE = "the image"
_LINGER = 2.0  # seconds
_HOW = "send the image itself with 'Content-Type: image/png', or files in a form (multipart/form-data)"
_RAW = ("image/", "application/octet-stream")


class Picture(NamedTuple):
    """One image as the client sent it."""

    name: str | None
    content: bytes


class Service:
    """What the routes of the application call.

    Parameters
    ----------
    predictor : Predictor
    limits : Limits
    workers : int, optional
        Threads that predict; None is one for each core of this process.
    """

    def __init__(self, predictor: Predictor, limits: Limits, workers: int | None = None) -> None:
        self.predictor, self.limits = predictor, limits
        self.room = Room(limits)
        self.metrics = Metrics(self.room)
        self.given_up = 0  # requests that were accepted and not answered, because the server ended
        threads = n_threads(workers)
        self.batches = Batches(
            self._decode,
            predictor.predict_proba,
            workers=threads,
            most=_MOST_IN_BATCH,
            observe=self.metrics.batch,
        )
        # Large images are decoded apart, so that small ones do not wait for them.
        self._large = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self.no_faces = (
            None
            if can_find_faces()
            else "this server cannot find faces: pip install 'cnnboost[faces]', and start it again"
        )

    def close(self) -> None:
        """End the threads when they have done what they are at, and what somebody still waits for."""
        self._large.shutdown(cancel_futures=True)
        self.batches.stop()

    async def predict(self, request: Request, faces: bool) -> tuple[list[dict[str, Any]], int]:
        """Answer a request with a row for each image; also say how many of them have an error."""
        if faces and self.no_faces:
            raise Refused(400, self.no_faces)
        try:
            with self.room.share() as share:
                pictures = await _politely(request, self._read(request, share))
                share.add_images(len(pictures))
                find = self._faces if faces else self._whole
                rows = await find(pictures)
        except asyncio.CancelledError:  # nothing but the end of the server cancels a request
            self.given_up += 1
            raise Refused(503, "the server has ended before it could answer") from None
        failed = sum("error" in row for row in rows)
        found = sum(len(row.get("faces", ())) for row in rows)
        self.metrics.images(len(rows) - failed, failed, found)
        return rows, failed

    async def _read(self, request: Request, share: Share) -> list[Picture]:
        """Read the images of a body, whichever way it holds them."""
        kind = (
            request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
        )
        if not kind.startswith(_RAW) and kind != "multipart/form-data":
            raise Refused(415, f"a body of type {kind[:100]!r} is not accepted; {_HOW}", hang_up=True)
        stated = request.headers.get("content-length", "")
        share.expect(int(stated) if stated.isdecimal() else 0)
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = _bounded(request, share)
                if kind != "multipart/form-data":
                    pictures = [Picture(None, b"".join([part async for part in body]))]
                else:
                    pictures = await self._parts(request, body)
        except TimeoutError:
            raise Refused(
                408,
                f"the body did not arrive within {self.limits.seconds:g} seconds, the limit; send it faster, "
                "or fewer images at a time",
                hang_up=True,
            ) from None
        if not pictures or not any(picture.content for picture in pictures):
            raise Refused(400, f"the body holds no image; {_HOW}")
        return pictures

    async def _parts(self, request: Request, body: AsyncGenerator[bytes, None]) -> list[Picture]:
        """Read the files of a form; what its fields are called plays no part."""
        parser = MultiPartParser(request.headers, body, max_files=self.limits.images, max_fields=8)
        # No body is larger, so every part stays in memory: pictures of people are never written to a disk.
        parser.spool_max_size = self.limits.bytes
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError, UnicodeDecodeError) as error:
            many = "Too many files" in str(error)
            reason = getattr(error, "message", None) or "its boundary is missing or its names are not text"
            raise Refused(413 if many else 400, f"the form cannot be read: {reason}", hang_up=True) from error
        pictures = []
        for field, part in form.multi_items():
            if not isinstance(part, UploadFile):
                raise Refused(422, f"the field {field[:100]!r} of the form is text; images are sent as files")
            name = part.filename[-_LONGEST_NAME:] if part.filename else None
            pictures.append(Picture(name, await part.read()))
        return pictures

    async def _whole(self, pictures: list[Picture]) -> list[dict[str, Any]]:
        """Predict each image as a whole."""
        loop = asyncio.get_running_loop()
        ready: list[bytes | np.ndarray] = []
        rows: list[dict[str, Any]] = []
        for name, content in pictures:
            row: dict[str, Any] = {"name": name}
            rows.append(row)
            try:
                if len(content) > _SMALL or claimed_pixels(content) > _SMALL_PIXELS:
                    ready.append(await loop.run_in_executor(self._large, self._decode, content))
                else:
                    ready.append(content)
            except DataError as error:
                row["error"] = _reason(error)
        results = iter(await self.batches(ready))
        for row in rows:
            if "error" not in row:
                row.update(self._row(next(results)))
        return rows

    def _row(self, result: Result) -> dict[str, Any]:
        if isinstance(result, DataError):
            return {"error": _reason(result)}
        label = self.predictor.names[int(result.argmax())]
        return {"label": label, "probabilities": self.predictor.named(result)}

    async def _faces(self, pictures: list[Picture]) -> list[dict[str, Any]]:
        """Predict each face of each image."""
        loop = asyncio.get_running_loop()
        return [
            {"name": name, **await loop.run_in_executor(self._large, self._faces_of, content)}
            for name, content in pictures
        ]

    def _faces_of(self, content: bytes) -> dict[str, Any]:
        try:
            picture = open_image(content, _PLACE, self.limits.pixels)
            found = self.predictor.faces(picture)
        except DataError as error:
            return {"error": _reason(error)}
        faces = [
            {
                "box": face.box,
                "score": face.to_dict()["score"],
                "label": str(label),
                "probabilities": self.predictor.named(probabilities),
            }
            for face, label, probabilities in found
        ]
        return {"width": picture.width, "height": picture.height, "faces": faces}

    def _decode(self, content: bytes) -> np.ndarray:
        return decode_image(content, self.predictor.input, _PLACE, most_pixels=self.limits.pixels)


def _reason(error: DataError) -> str:
    return f"{_PLACE} {error.bad[0].reason}" if error.bad else str(error)


async def _politely(request: Request, reading: Awaitable[list[Picture]]) -> list[Picture]:
    """Take what a client is still sending, for a while, before it is refused: then it reads why."""
    try:
        return await reading
    except Refused as refused:
        # Who asks first whether to send (Expect) has sent nothing; who is late has had time.
        if refused.hang_up and refused.status != 408 and "expect" not in request.headers:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER):
                    while (await request.receive()).get("more_body"):
                        pass
        raise


async def _bounded(request: Request, share: Share) -> AsyncGenerator[bytes, None]:
    async for part in request.stream():
        share.add_bytes(len(part))
        yield part
