"""Bytes go into a file in order, whatever the sizes of the pieces and the abilities of the file system."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnboost.features.blockfile import _BUFFER, BlockFile

SIZES = st.sampled_from([0, 1, 7, 4095, 4096, 4097, 100_000, _BUFFER - 1, _BUFFER, _BUFFER + 5])
PIECES = st.lists(st.tuples(SIZES, st.booleans()), max_size=6)


def noise(count, seed=0):
    return bytes((i * 31 + seed) % 251 for i in range(251)) * (count // 251 + 1)


def check(path, offset, pieces):
    before = noise(offset + sum(size for size, _ in pieces) + 10_000)[: offset + 10_000]
    path.write_bytes(before)
    expected = bytearray(before)
    file = BlockFile(path, offset)
    place = offset
    for number, (size, flush) in enumerate(pieces):
        piece = noise(size, number + 1)[:size]
        file.write(memoryview(piece))
        expected[place : place + size] = piece
        place += size
        if flush:
            file.flush()
            assert path.read_bytes()[:place] == bytes(expected[:place])
    file.flush()
    file.close()
    assert path.read_bytes() == bytes(expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.sampled_from([0, 1, 128, 4096, 5000, 1_000_003]), pieces=PIECES)
def test_pieces_of_any_size_end_up_in_order(tmp_path, offset, pieces):
    check(tmp_path / "rows", offset, pieces)


MANY = [(100_000, False), (_BUFFER, True), (4097, False), (3 * _BUFFER + 17, False), (5, True)]


def test_a_system_without_direct_writes_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    check(tmp_path / "rows", 128, MANY)


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system knows no direct writes")
def test_a_file_system_that_refuses_direct_writes_late_gives_the_same_bytes(tmp_path, monkeypatch):
    really, direct, refused = os.write, [], []
    opened = os.open

    def opens(path, flags, *more):
        handle = opened(path, flags, *more)
        if flags & os.O_DIRECT:
            direct.append(handle)
        return handle

    def refuses(handle, data):
        if handle in direct:
            refused.append(handle)
            direct.remove(handle)
            raise OSError(errno.EINVAL, "Invalid argument")
        return really(handle, data)

    monkeypatch.setattr(os, "open", opens)
    monkeypatch.setattr(os, "write", refuses)
    check(tmp_path / "rows", 128, MANY)
    # Asked once and never again; not at all where opening was refused already.
    assert len(refused) + len(direct) <= 1
    assert not direct


def test_short_writes_are_continued(tmp_path, monkeypatch):
    really = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: really(handle, data[: max(1, len(data) // 2)]))
    check(tmp_path / "rows", 128, MANY)


def test_an_error_of_the_disk_gets_through(tmp_path, monkeypatch):
    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "rows"
    path.write_bytes(b"header")
    file = BlockFile(path, 6)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(memoryview(bytes(_BUFFER)))
    file.close()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        BlockFile(tmp_path / "none", 0)


def test_what_was_not_flushed_is_not_promised(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(bytes(100))
    file = BlockFile(path, 0)
    file.write(memoryview(b"x" * 50))
    file.close()
    assert path.read_bytes() == bytes(100)
