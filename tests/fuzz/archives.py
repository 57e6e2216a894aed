"""Damage to zip archives, `.npy` arrays and PNG files that knows their parts."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random

import numpy as np

from tests.fuzz.damage import damaged

_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_NUMBERS = (0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)

Changing = Callable[[Random, bytes], bytes]


def members_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {info.filename: opened.read(info) for info in opened.infolist()}


def packed(members: list[tuple[str, bytes]], compressed: bool = True) -> bytes:
    """Pack members, also two of one name; the time is always the same."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            archive.writestr(info, content)
    return file.getvalue()


def repacked(rng: Random, archive: bytes, change: Changing) -> tuple[str, bytes]:
    """Return an archive with right checksums, in which one member is damaged, missing, doubled or renamed."""
    members = list(members_of(archive).items())
    chosen = rng.randrange(len(members))
    name, content = members[chosen]
    kind = rng.choice(("content",) * 6 + ("drop", "double", "rename", "exchange"))
    if kind == "content":
        members[chosen] = name, change(rng, content)
    elif kind == "drop":
        del members[chosen]
    elif kind == "double":
        members.append((name, change(rng, content)))
    elif kind == "rename":
        members[chosen] = _odd_name(rng, name), content
    else:
        another = rng.randrange(len(members))
        members[chosen], members[another] = (name, members[another][1]), (members[another][0], content)
    return f"{kind} of {name}, packed again", packed(members, rng.random() < 0.5)


def _odd_name(rng: Random, name: str) -> str:
    return rng.choice(
        ("../" + name, "/" + name, "C:" + name, name.replace("/", "\\"), name.replace("/", "//"), name + "/",
         name.rpartition("/")[2], "a/b/c/" + name, "x" * 300 + name, name[:-1], "\n" + name, "<b>" + name,
         "\x1b" + name, name.upper(), "日本語/" + name)
    )  # fmt: skip


def contradicting(rng: Random, archive: bytes) -> tuple[str, bytes]:
    """Change one entry of an archive's directory, or one header, so that they no longer agree."""
    content = bytearray(archive)
    end = archive.rfind(b"PK\x05\x06")
    place = int.from_bytes(archive[end + 16 : end + 20], "little")
    entries = []
    while archive[place : place + 4] == b"PK\x01\x02":
        fields = _CENTRAL.unpack_from(archive, place)
        entries.append(place)
        place += _CENTRAL.size + sum(fields[10:13])
    entry = rng.choice(entries)
    fields = list(_CENTRAL.unpack_from(archive, entry))
    length, offset = fields[10], fields[16]
    kind = rng.choice(("central name", "local name", "swapped names", "central", "central", "local", "end"))
    if kind in ("central name", "local name"):
        start = entry + _CENTRAL.size if kind == "central name" else offset + _LOCAL.size
        name = archive[start : start + length]
        other = rng.choice(
            (name[::-1], name.replace(b"0", b"1"), b"\0" * length, name[:3] + bytes(length - 3),
             name[:-1] + b"/", name[:-1] + b"\xff", b"../" + name[3:])
        )  # fmt: skip
        content[start : start + length] = other
    elif kind == "swapped names":
        another = rng.choice(entries)
        theirs = list(_CENTRAL.unpack_from(archive, another))
        fields[16], theirs[16] = theirs[16], fields[16]
        _CENTRAL.pack_into(content, entry, *fields)
        if another != entry:
            _CENTRAL.pack_into(content, another, *theirs)
    elif kind == "end":
        at = end + rng.choice((4, 6, 8, 10, 12, 16, 20))
        content[at : at + 2] = rng.randbytes(2)
    else:
        layout, at = (_CENTRAL, entry) if kind == "central" else (_LOCAL, offset)
        fields = list(layout.unpack_from(archive, at))
        which = rng.randrange(1, len(fields))
        widths = "HHHHHHLLLHHHHHLL" if kind == "central" else "HHHHHLLLHH"
        value = rng.choice((*_NUMBERS, fields[which] + 1, fields[which] - 1, len(archive), fields[which] ^ 1))
        fields[which] = value & (0xFFFF if widths[which - 1] == "H" else 0xFFFFFFFF)
        layout.pack_into(content, at, *fields)
    return kind, bytes(content)


def damaged_npy(rng: Random, content: bytes) -> bytes:
    """Damage an array: what its header says of it, what it holds, or any of its bytes."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    kind = rng.choice(("bytes", "dtype", "shape", "header", "pickle", "values"))
    if kind == "bytes":
        return damaged(rng, content)[1]
    if kind == "values":
        return _npy(_other_values(rng, array))
    if kind == "pickle":
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        return file.getvalue() + pickle.dumps(np.array([{"a": 1}], dtype=object))
    descr, order, shape = array.dtype.str, False, tuple(array.shape)
    if kind == "dtype":
        descr = rng.choice(
            ("<f8", "<f4", "|u1", "<i8", ">i4", "<U4", "|S3", "|O", "|V8", "<c16", "<M8[s]", "|b1", "x")
        )
    elif kind == "shape":
        shape = rng.choice(
            (
                (),
                (0,),
                (-1,),
                (10**12,),
                (1, *shape),
                shape[::-1],
                tuple(n + 1 for n in shape),
                (2**40, 2**40),
                (0, 0),
            )
        )
    else:
        order = True
    text = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape!r}, }}"
    text = rng.choice(
        (text,) * 4 + (text + "\0", text.replace("'", '"'), text[:-3], text + " " * 70_000, "[" * 3000)
    )
    head = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + (len(head) & 0xFFFF).to_bytes(2, "little") + head + content[128:]


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _other_values(rng: Random, array: np.ndarray) -> np.ndarray:
    array = np.atleast_1d(array)
    with np.errstate(all="ignore"):
        if array.dtype.kind in "US":
            return rng.choice(
                (array[..., None], array[:0], np.array(7), np.array(["\0", "a" * 1000]), array.astype("S"))
            )
        return rng.choice(
            (array.astype(np.float64) / 255, array.astype(np.int64) - 1, array * np.float32("nan"), array[:0],
             array[None], array[..., None], array.astype(bool), np.array(7), array.T, array.astype(str),
             array.astype(np.int64) + 2**62, array.astype(np.complex64), array.repeat(2).reshape(-1, 2))
        )  # fmt: skip


def forged_png(rng: Random, content: bytes) -> tuple[str, bytes]:
    """Change one chunk of a PNG file under a right CRC, or the order of chunks."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    chosen = rng.randrange(len(chunks))
    name, data = chunks[chosen]
    kind = rng.choice(("content", "content", "content", "drop", "double", "swap", "rename"))
    if kind == "content":
        if name == b"IDAT" and rng.random() < 0.5:
            data = zlib.compress(damaged(rng, zlib.decompress(data))[1])
        else:
            data = damaged(rng, data)[1]
        chunks[chosen] = name, data
    elif kind == "drop":
        del chunks[chosen]
    elif kind == "double":
        chunks.insert(rng.randrange(len(chunks)), (name, data))
    elif kind == "rename":
        chunks[chosen] = (
            rng.choice((b"tRNS", b"eXIf", b"IDAT", b"PLTE", b"acTL", b"IHDR", b"iCCP", b"zTXt")),
            data,
        )
    else:
        rng.shuffle(chunks)
    whole = b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in chunks
    )
    return f"{kind} of {name.decode('latin-1')}, right CRC", content[:8] + whole
