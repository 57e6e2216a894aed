"""Damage to bytes, whatever they mean.

Each function takes a `random.Random`, the content of a file and that of another one of its kind, and returns
the damaged content.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Damaging = Callable[[Random, bytes, bytes], bytes]

_LARGE = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def _span(rng: Random, data: bytes, most: int = 4096) -> tuple[int, int]:
    """Return a range of some length; short ones are as likely as long ones."""
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + int(most ** rng.random()))


def flip_bits(rng: Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8)) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def change_bytes(rng: Random, data: bytes, other: bytes) -> bytes:
    start, stop = _span(rng, data, 64)
    return data[:start] + rng.randbytes(stop - start) + data[stop:]


def change_start(rng: Random, data: bytes, other: bytes) -> bytes:
    """Most formats say what they hold in their first bytes."""
    place = rng.randrange(min(len(data), 64) or 1)
    return data[:place] + rng.randbytes(1) + data[place + 1 :]


def insert(rng: Random, data: bytes, other: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(int(256 ** rng.random())) + data[place:]


def delete(rng: Random, data: bytes, other: bytes) -> bytes:
    start, stop = _span(rng, data)
    return data[:start] + data[stop:]


def duplicate(rng: Random, data: bytes, other: bytes) -> bytes:
    start, stop = _span(rng, data)
    return data[:stop] + data[start:stop] * rng.choice((1, 1, 3)) + data[stop:]


def truncate(rng: Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.choice((rng.randrange(len(data) + 1), max(0, len(data) - rng.randrange(1, 9))))]


def extend(rng: Random, data: bytes, other: bytes) -> bytes:
    count = int(4096 ** rng.random())
    return data + rng.choice((bytes(count), rng.randbytes(count), data))


def zero(rng: Random, data: bytes, other: bytes) -> bytes:
    start, stop = _span(rng, data)
    return data[:start] + bytes(stop - start) + data[stop:]


def swap_blocks(rng: Random, data: bytes, other: bytes) -> bytes:
    a, b, c, d = sorted(rng.randrange(len(data) + 1) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def splice(rng: Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def change_length(rng: Random, data: bytes, other: bytes) -> bytes:
    """Put another number where a length, a count or an offset may stand."""
    for _ in range(50):
        size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
        place = rng.randrange(max(1, len(data) - size + 1))
        value = int.from_bytes(data[place : place + size], order)
        if 0 < value <= 4 * len(data):
            new = rng.choice((*_LARGE, value - 1, value + 1, value * 2, len(data)))
            return data[:place] + (new & (1 << 8 * size) - 1).to_bytes(size, order) + data[place + size :]
    return flip_bits(rng, data, other)


def empty(rng: Random, data: bytes, other: bytes) -> bytes:
    return b""


BYTES: tuple[Damaging, ...] = (
    flip_bits, flip_bits, flip_bits, change_bytes, change_bytes, change_start, insert, delete, duplicate,
    truncate, extend, zero, swap_blocks, splice, change_length, change_length,
)  # fmt: skip


def damaged(rng: Random, data: bytes, other: bytes = b"") -> tuple[str, bytes]:
    """Return the name of a damage and the damaged content; it always differs from the whole one."""
    for _ in range(20):
        change = empty if rng.random() < 0.01 else rng.choice(BYTES)
        content = change(rng, data, other or data)
        if content != data:
            return change.__name__, content
    return "extend", data + b"\0"
