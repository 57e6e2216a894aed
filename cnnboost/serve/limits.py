"""What one client may ask for, and how much all of them together; past it, an answer that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cnnboost.errors import CnnboostError


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Parameters
    ----------
    bytes : int
        Of the body of one request.
    images : int
        In one request.
    pixels : int
        Of one image; it is refused by its header, before it is decoded.
    seconds : float
        For a client to send a request: its headers, and then its body.
    queue : int
        Images that are waited for at one time, over all requests.
    """

    bytes: int = 32 << 20
    images: int = 256
    pixels: int = 50_000_000
    seconds: float = 20.0
    queue: int = 1024

    @property
    def held_bytes(self) -> int:
        """Bytes of the bodies that are in memory at one time, over all requests."""
        return max(1 << 28, 4 * self.bytes)


class Refused(CnnboostError):
    """A request that is answered with an HTTP status from 400 on, and a sentence.

    Parameters
    ----------
    status : int
    sentence : str
    again : int, optional
        Seconds after which the client may try again.
    hang_up : bool
        Whether to close the connection, because the client has not sent all of its body.
    """

    def __init__(
        self, status: int, sentence: str, *, again: int | None = None, hang_up: bool = False
    ) -> None:
        super().__init__(sentence)
        self.status, self.hang_up = status, hang_up
        self.headers: dict[str, str] = {}
        if again is not None:
            self.headers["Retry-After"] = str(again)
        if hang_up:
            self.headers["Connection"] = "close"


class Room:
    """What all requests together hold at this moment; used by the event loop's thread only.

    Attributes
    ----------
    bytes, images : int
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.bytes = self.images = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Give the share of one request, and take it back when the request is answered."""
        share = Share(self, self._limits)
        try:
            yield share
        finally:
            self.bytes -= share.bytes
            self.images -= share.images


class Share:
    """What one request holds of the room."""

    def __init__(self, room: Room, limits: Limits) -> None:
        self._room, self._limits = room, limits
        self.bytes = self.images = 0

    def expect(self, size: int) -> None:
        """Refuse a body of a stated size before it is read, if it would be refused anyway."""
        if self.bytes + size > self._limits.bytes:
            raise Refused(
                413,
                f"the body is larger than {self._limits.bytes:,} bytes, the limit for one request; send "
                "fewer or smaller images",
                hang_up=True,
            )
        if self._room.bytes + size > self._limits.held_bytes or self._room.images >= self._limits.queue:
            raise _busy(hang_up=True)

    def add_bytes(self, size: int) -> None:
        """Count a part of a body."""
        self.expect(size)
        self.bytes += size
        self._room.bytes += size

    def add_images(self, number: int) -> None:
        """Count the images that are going to be predicted."""
        if number > self._limits.images:
            raise Refused(
                413,
                f"the request holds {number:,} images, the limit is {self._limits.images:,}; send several "
                "requests",
            )
        if self._room.images + number > self._limits.queue:
            raise _busy()
        self.images += number
        self._room.images += number


def _busy(hang_up: bool = False) -> Refused:
    return Refused(
        503, "the server has as much to do as it can hold; try again in a second", again=1, hang_up=hang_up
    )
