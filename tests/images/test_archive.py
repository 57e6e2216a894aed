import contextlib
import pickle
import re
import stat
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnboost.errors import DataError, StoreError
from cnnboost.images import archive as archive_module
from cnnboost.images import load_images
from cnnboost.images.archive import ZipTree

from .conftest import write_zip

ENTRY = b"PK\x01\x02"  # an entry of an archive's directory


def reasons(tree: ZipTree) -> dict[str, str]:
    return {bad.place: bad.reason for bad in tree.bad}


def edit(path, change):
    """Change the bytes of a file in place."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def renamed(name: bytes, new: bytes):
    """Change a name in the directory of an archive, and not in the member's own header."""

    def change(data):
        place = data.rindex(name)
        data[place : place + len(name)] = new

    return change


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_read_as_they_were_written_also_in_threads(tmp_path, compression, rng):
    members = {f"a/b/{k}.bin": rng.bytes(k * 137) for k in range(40)}
    tree = ZipTree(write_zip(tmp_path / "x.zip", members, compression))
    assert tree.files == sorted(members)
    assert tree.folders == ["a", "a/b"]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tree.read, tree.files * 20)) == [members[name] for name in tree.files * 20]


def test_members_with_extra_fields_data_descriptors_and_a_comment(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as packed:
        info = zipfile.ZipInfo("a/ünï.bin")
        info.extra = struct.pack("<HH4s", 0x7777, 4, b"more")
        packed.writestr(info, b"one")
        with packed.open("a/stream.bin", "w", force_zip64=True) as member:
            member.write(b"two")
        packed.comment = b"of its maker" * 2000
    tree = ZipTree(path)
    assert [tree.read(name) for name in tree.files] == [b"two", b"one"]


def test_old_archives_with_letters_of_code_page_437_are_read(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a/caf_.png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"caf_", b"caf\x82"))
    assert ZipTree(path).read("a/caf\u00e9.png") == b"x"


def test_what_systems_leave_behind_is_ignored(tmp_path):
    members = dict.fromkeys(
        ["a/1.png", "__MACOSX/a/._1.png", "a/.DS_Store", "a/Thumbs.db", ".git/x", "a/desktop.ini"], b"x"
    )
    tree = ZipTree(write_zip(tmp_path / "x.zip", members))
    assert tree.files == ["a/1.png"]
    assert tree.bad == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("C:/windows/1.png", "absolute"),
        ("../1.png", r"leads out of the archive \('\.\.'\)"),
        ("a/../../1.png", "leads out"),
        ("a\\..\\..\\1.png", "leads out"),
    ],
)
def test_paths_that_lead_elsewhere_are_never_read(tmp_path, name, reason):
    tree = ZipTree(write_zip(tmp_path / "x.zip", {"a/1.png": b"x", name: b"y"}))
    assert tree.files == ["a/1.png"]
    ((place, told),) = reasons(tree).items()
    assert place.replace("\\", "/") == name.replace("\\", "/")
    assert re.search(reason, told)
    with pytest.raises(DataError, match=r"holds no files \(.*: (leads out|is an absolute)"):
        load_images(write_zip(tmp_path / "x.zip", {name: b"y"}), cache=False)


def encrypted(data):
    data[data.index(ENTRY) + 8] |= 1  # a flag in the archive's directory


def overlapping(data):
    second = data.index(ENTRY, data.index(ENTRY) + 4)
    struct.pack_into("<I", data, second + 42, 0)  # where its header is


def a_link(data):
    struct.pack_into("<I", data, data.index(ENTRY) + 38, (stat.S_IFLNK | 0o777) << 16)


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        (encrypted, {"a/1.png": "is encrypted"}),
        (overlapping, {"a/1.png": "over another member", "a/2.png": "over another member"}),
        (a_link, {"a/1.png": "is a link"}),
        # A file whose damaged name is that of a folder does not vanish.
        (renamed(b"a/2.png", b"a/2.pn/"), {"a/2.pn/": "is damaged: its own header"}),
    ],
)
def test_members_that_cannot_be_used_are_named(tmp_path, change, bad):
    path = write_zip(tmp_path / "x.zip", {"a/1.png": b"x" * 50, "a/2.png": b"x" * 50}, zipfile.ZIP_STORED)
    tree = ZipTree(edit(path, change))
    assert set(reasons(tree)) == set(bad)
    assert not set(tree.files) & set(bad)
    assert all(reason in reasons(tree)[place] for place, reason in bad.items())


def test_twice_the_same_name_is_named(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a/1.png", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("a/1.png", b"two")
    tree = ZipTree(path)
    assert tree.read("a/1.png") == b"one"
    assert "twice" in reasons(tree)["a/1.png"]


def damaged_content(data):
    data[200] ^= 0xFF


def larger_than_stated(data):
    entry = data.index(ENTRY)
    struct.pack_into("<I", data, entry + 24, 10)  # uncompressed size
    struct.pack_into("<I", data, entry + 16, zlib.crc32(bytes(10)))


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        (damaged_content, "a/1.bin", "is damaged"),
        (larger_than_stated, "a/1.bin", "is damaged: its content does not match"),
        (renamed(b"a/1.bin", b"a/7.bin"), "a/7.bin", r"is damaged: its own header \('a/1\.bin'"),
        (renamed(b"a/1.bin", b"a/1.bi\0"), "a/1.bi", r"is damaged: its own header \('a/1\.bin'"),
        (renamed(b"a/1.bin", bytes(7)), "", r"is damaged: its own header \('a/1\.bin'"),
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_named_and_the_others_are_read(tmp_path, compression, rng, change, name, reason):
    members = {"a/1.bin": rng.bytes(500), "a/2.bin": rng.bytes(500)}
    tree = ZipTree(edit(write_zip(tmp_path / "x.zip", members, compression), change))
    with pytest.raises(DataError, match=rf"{re.escape(name)}: {reason}"):
        tree.read(name)
    assert tree.read("a/2.bin") == members["a/2.bin"]


def test_bombs_and_members_above_the_limit_are_refused(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "one.zip", {"a/1.png": bytes(20_000_000), "a/2.png": b"x"})
    tree = ZipTree(path)
    assert tree.files == ["a/2.png"]
    assert "bomb" in reasons(tree)["a/1.png"]
    monkeypatch.setattr(archive_module, "MAX_FILE_BYTES", 1000)
    assert "the limit for one image" in reasons(ZipTree(path))["a/1.png"]
    monkeypatch.setattr(archive_module, "SMALL", 1000)
    path = write_zip(tmp_path / "many.zip", {f"a/{k}.png": bytes(100_000) for k in range(50)})
    with pytest.raises(DataError, match=r"many\.zip: 50 members of 5000000 bytes .* bomb"):
        ZipTree(path)


def swallowing(data):
    entry = data.index(ENTRY, data.index(ENTRY) + 1)
    data[entry + 32] = 2 * (46 + len("a/0.png"))  # a comment as long as the two entries behind it


def test_a_damaged_archive_is_named(tmp_path):
    members = {f"a/{k}.png": b"x" for k in range(4)}
    path = edit(write_zip(tmp_path / "x.zip", members), swallowing)
    with zipfile.ZipFile(path) as packed:
        assert len(packed.infolist()) < 4
    with pytest.raises(DataError, match=r"x\.zip: is damaged: its directory lists 2 members, .* list 4"):
        ZipTree(path)
    for keep in (0, 10, 90):
        path.write_bytes(write_zip(tmp_path / "y.zip", members).read_bytes()[:keep])
        with pytest.raises(DataError, match=r"x\.zip: is not a readable zip archive"):
            ZipTree(path)


def test_bytes_cut_out_are_the_fault_of_the_archive(tmp_path, rng):
    members = {f"a/{k}.png": rng.bytes(300) for k in range(5)}
    path = write_zip(tmp_path / "x.zip", members, zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data[:30] + data[200:])
    with pytest.raises(DataError, match=r"x\.zip: none of 4 .* a/0\.png is damaged: it lies outside"):
        load_images(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_never_gives_other_content(tmp_path, data):
    members = {f"{label}/{k}.png": f"{label}{k}".encode() * 9 for label in ("cat", "dog") for k in range(2)}
    path = write_zip(tmp_path / "x.zip", members, data.draw(st.sampled_from([0, 8])))
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[start] = data.draw(st.integers(0, 255))
    else:
        del content[start : start + data.draw(st.integers(1, 400))]
    path.write_bytes(content)
    try:
        tree = ZipTree(path)
    except DataError:
        return
    for name in tree.files:
        with contextlib.suppress(DataError):
            assert tree.read(name) == members[name]


def test_an_archive_that_is_sent_is_opened_where_it_is_read(tmp_path):
    path, away = tmp_path / "x.zip", tmp_path / "y.zip"
    sent = pickle.dumps(ZipTree(write_zip(path, {"a/1.png": b"1"})).read)
    path.rename(away)
    read = pickle.loads(sent)  # who only passes it on need not see it
    away.rename(path)
    assert read("a/1.png") == b"1"
    again = pickle.dumps(ZipTree(write_zip(path, {"a/1.png": b"2", "a/2.png": b""})).read)
    assert pickle.loads(again)("a/1.png") == b"2"
    archive_module._opened.cache_clear()
    with pytest.raises(StoreError, match=r"x\.zip has \d+ bytes here and \d+ where .* replaced meanwhile"):
        read("a/1.png")
