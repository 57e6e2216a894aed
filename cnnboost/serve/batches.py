"""Images that arrive together are predicted together.

Nothing waits for company: while a batch is at work, what arrives meanwhile becomes the next one. A single
image therefore leaves at once, and a crowd is predicted in batches.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

import numpy as np

from cnnboost.errors import DataError

#: The probabilities of an image, or why there are none.
Result = np.ndarray | DataError


class Asked:
    """The images of one request, and what is known of them so far."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.results: list[Result] = [DataError("is being predicted")] * number
        self.missing = number
        self.done: asyncio.Future[list[Result]] = loop.create_future()

    def settle(self, place: int, result: Result | Exception) -> None:
        """Note the result of one image; the request goes on when there are all of them."""
        if self.done.done():  # the client has gone, or another image of the request failed
            return
        if isinstance(result, np.ndarray | DataError):
            self.results[place] = result
            self.missing -= 1
            if not self.missing:
                self.done.set_result(self.results)
        else:
            self.done.set_exception(result)


_Waiting = tuple[Asked, int, bytes | np.ndarray]


class Batches:
    """Threads that take what is waiting, decode it, and predict it at once.

    Parameters
    ----------
    decode : callable
        From the content of an image file to pixels (height, width, channels); called by the threads.
    predict : callable
        From pixels (n, height, width, channels) to probabilities (n, k); called by the threads.
    workers : int
        Threads.
    most : int
        Images in a batch.
    observe : callable
        Is told the size of each batch, on the event loop.
    """

    def __init__(
        self,
        decode: Callable[[bytes], np.ndarray],
        predict: Callable[[np.ndarray], np.ndarray],
        *,
        workers: int,
        most: int,
        observe: Callable[[int], None],
    ) -> None:
        self._decode, self._predict, self._observe = decode, predict, observe
        self._workers, self._most = workers, most
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads; they answer to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._threads = [
            threading.Thread(target=self._work, name=f"predict-{number}", daemon=True)
            for number in range(self._workers)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads when they have done what somebody still waits for."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    async def __call__(self, images: Sequence[bytes | np.ndarray]) -> list[Result]:
        """Predict images, which may be decoded already; one that cannot be decoded has its error."""
        if not images:
            return []
        asked = Asked(len(images), self._loop)
        for place, image in enumerate(images):
            self._queue.put((asked, place, image))
        return await asked.done

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first] if _is_awaited(first) else []
            while len(batch) < self._most:
                try:
                    following = self._queue.get_nowait()
                except Empty:
                    break
                if following is None:
                    self._queue.put(None)
                    break
                if _is_awaited(following):
                    batch.append(following)
            if batch:
                results = self._results([image for _, _, image in batch])
                self._loop.call_soon_threadsafe(self._settle, batch, results)

    def _results(self, images: Sequence[bytes | np.ndarray]) -> Sequence[Result | Exception]:
        results: list[Result | Exception] = []
        pixels: list[np.ndarray] = []
        for image in images:
            try:
                decoded = image if isinstance(image, np.ndarray) else self._decode(image)
            except Exception as error:  # noqa: BLE001 - the request of this image raises it, no other
                results.append(error)
            else:
                pixels.append(decoded)
                results.append(decoded)
        try:
            rows = iter(self._predict(np.stack(pixels)) if pixels else ())
            return [result if isinstance(result, Exception) else next(rows) for result in results]
        except Exception as error:  # noqa: BLE001 - each request of the batch raises it
            return [error] * len(images)

    def _settle(self, batch: Sequence[_Waiting], results: Sequence[Result | Exception]) -> None:
        self._observe(len(batch))
        for (asked, place, _), result in zip(batch, results, strict=True):
            asked.settle(place, result)


def _is_awaited(waiting: _Waiting) -> bool:
    return not waiting[0].done.done()
