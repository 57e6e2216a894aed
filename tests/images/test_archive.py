import contextlib
import re
import stat
import struct
import threading
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.images import archive, load_images
from cnnboost.images.archive import ZipTree

from .conftest import write_zip


def reasons(tree: ZipTree) -> dict[str, str]:
    return {bad.place: bad.reason for bad in tree.bad}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_read_as_they_were_written(tmp_path, compression, rng):
    members = {f"a/b/{k}.bin": rng.bytes(k * 37) for k in range(20)}
    tree = ZipTree(write_zip(tmp_path / "x.zip", members, compression))
    assert tree.files == sorted(members)
    assert tree.folders == ["a", "a/b"]
    assert {path: tree.read(path) for path in tree.files} == members


def test_members_with_extra_fields_and_data_descriptors(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as packed:
        info = zipfile.ZipInfo("a/ünï.bin")
        info.extra = struct.pack("<HH4s", 0x7777, 4, b"more")
        packed.writestr(info, b"one")
        with packed.open("a/stream.bin", "w", force_zip64=True) as member:
            member.write(b"two")
    tree = ZipTree(path)
    assert [tree.read(name) for name in tree.files] == [b"two", b"one"]


def test_threads_share_a_tree(tmp_path, rng):
    members = {f"{k}.bin": rng.bytes(5000) for k in range(40)}
    tree = ZipTree(write_zip(tmp_path / "x.zip", members))
    wrong = []

    def read():
        wrong.extend(name for name in tree.files * 5 if tree.read(name) != members[name])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_systems_leave_behind_is_ignored(tmp_path):
    members = dict.fromkeys(
        ["a/1.png", "__MACOSX/a/._1.png", "a/.DS_Store", "a/Thumbs.db", ".git/x", "a/desktop.ini"], b"x"
    )
    tree = ZipTree(write_zip(tmp_path / "x.zip", members))
    assert tree.files == ["a/1.png"]
    assert tree.bad == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("C:/windows/1.png", "absolute"),
        ("../1.png", r"\.\."),
        ("a/../../1.png", r"\.\."),
        ("a\\..\\..\\1.png", r"\.\."),
    ],
)
def test_paths_that_lead_elsewhere_are_never_read(tmp_path, name, reason):
    tree = ZipTree(write_zip(tmp_path / "x.zip", {"a/1.png": b"x", name: b"y"}))
    assert tree.files == ["a/1.png"]
    ((place, told),) = reasons(tree).items()
    assert place.replace("\\", "/") == name.replace("\\", "/")
    assert re.search(reason, told)


def patch_flags(data: bytes, flag: int) -> bytes:
    """Set a general purpose flag in the local and the central header of a one-member archive."""
    changed = bytearray(data)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = changed.index(magic) + offset
        flags = struct.unpack_from("<H", changed, place)[0]
        struct.pack_into("<H", changed, place, flags | flag)
    return bytes(changed)


def test_encrypted_member_is_named(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a/1.png": b"secret"})
    path.write_bytes(patch_flags(path.read_bytes(), 1))
    tree = ZipTree(path)
    assert tree.files == []
    assert "encrypted" in reasons(tree)["a/1.png"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_member_is_named_and_the_others_are_read(tmp_path, compression, rng):
    members = {"a/1.bin": rng.bytes(500), "a/2.bin": rng.bytes(500)}
    path = write_zip(tmp_path / "x.zip", members, compression)
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF  # inside of the first member
    path.write_bytes(data)
    tree = ZipTree(path)
    with pytest.raises(DataError, match=r"a/1\.bin: is damaged"):
        tree.read("a/1.bin")
    assert tree.read("a/2.bin") == members["a/2.bin"]


def test_a_member_that_is_larger_than_it_says_is_cut_off_and_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a/1.bin": bytes(1_000_000)})
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 10)  # uncompressed size
    struct.pack_into("<I", data, central + 16, zlib.crc32(bytes(10)))
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a/1\.bin: is damaged"):
        ZipTree(path).read("a/1.bin")


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "one.zip", {"a/1.png": bytes(20_000_000), "a/2.png": b"x"})
    tree = ZipTree(path)
    assert tree.files == ["a/2.png"]
    assert "bomb" in reasons(tree)["a/1.png"]
    monkeypatch.setattr(archive, "SMALL", 1000)
    path = write_zip(tmp_path / "many.zip", {f"a/{k}.png": bytes(100_000) for k in range(50)})
    with pytest.raises(DataError, match=r"many\.zip: 50 members of 5000000 bytes .* bomb"):
        ZipTree(path)


def test_a_member_above_the_limit_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 1000)
    tree = ZipTree(write_zip(tmp_path / "x.zip", {"a/1.png": b"x" * 1001}))
    assert "limit" in reasons(tree)["a/1.png"]


def test_twice_the_same_name_is_named(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a/1.png", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("a/1.png", b"two")
    tree = ZipTree(path)
    assert tree.read("a/1.png") == b"one"
    assert "twice" in reasons(tree)["a/1.png"]


@pytest.mark.parametrize("keep", [0, 10, 90])
def test_an_archive_that_is_cut_off_is_named(tmp_path, keep):
    path = write_zip(tmp_path / "x.zip", {"a/1.png": b"x" * 100})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"x\.zip: is not a readable zip archive"):
        ZipTree(path)


def whole(path) -> list[str]:
    """The members that are read without complaint."""
    tree = ZipTree(path)
    good = []
    for name in tree.files:
        with contextlib.suppress(DataError):
            tree.read(name)
            good.append(name)
    tree.close()
    return good


def test_bytes_cut_out_are_the_fault_of_the_archive(tmp_path, rng):
    members = {f"a/{k}.png": rng.bytes(300) for k in range(5)}
    path = write_zip(tmp_path / "x.zip", members, zipfile.ZIP_STORED)
    data = path.read_bytes()
    for start, stop in ((30, 200), (0, 400), (200, 1000), (10, 11)):
        path.write_bytes(data[:start] + data[stop:])
        with contextlib.suppress(DataError):  # the directory was hit too
            assert set(whole(path)) < set(members)
    path.write_bytes(data[:30] + data[200:])
    with pytest.raises(DataError, match=r"x\.zip: none of 4 .* a/0\.png is damaged: it lies outside"):
        load_images(path)


def test_a_member_is_what_both_of_its_headers_call_it(tmp_path):
    members = {"dog/3.png": b"dog", "dog/caf\u00e9.png": b"x", "cat/1.png": b"cat"}
    path = write_zip(tmp_path / "x.zip", members)
    assert whole(path) == sorted(members)
    data = path.read_bytes()
    central = data.rindex(b"dog/3.png")
    path.write_bytes(data[:central] + b"cat/7.png" + data[central + 9 :])
    tree = ZipTree(path)
    with pytest.raises(DataError, match=r"cat/7\.png: is damaged: .* 'dog/3\.png'"):
        tree.read("cat/7.png")


def test_old_archives_with_letters_of_code_page_437_are_read(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a/caf_.png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"caf_", b"caf\x82"))
    assert whole(path) == ["a/caf\u00e9.png"]


def test_members_that_lie_over_one_another_are_named(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a/1.bin": b"x" * 50, "a/2.bin": b"x" * 50}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    struct.pack_into("<I", data, second + 42, 0)  # where its header stands
    path.write_bytes(data)
    assert set(reasons(ZipTree(path))) == {"a/1.bin", "a/2.bin"}


def test_links_are_not_taken_for_images(tmp_path):
    info = zipfile.ZipInfo("a/1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr(info, "../../etc/passwd")
    assert "is a link" in reasons(ZipTree(tmp_path / "x.zip"))["a/1.png"]


def test_what_leads_out_is_named_where_nothing_is_left(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"../a/1.png": b"x"})
    with pytest.raises(DataError, match=r"holds no files \(\.\./a/1\.png: leads out of the archive"):
        load_images(path, cache=False)


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
    tree.close()


def test_an_entry_that_swallows_others_is_noticed(tmp_path):
    path = write_zip(tmp_path / "x.zip", {f"a/{k}.png": b"x" for k in range(4)})
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[entry + 32] = 2 * (46 + len("a/0.png"))  # a comment as long as the two entries behind it
    path.write_bytes(data)
    with zipfile.ZipFile(path) as packed:
        assert len(packed.infolist()) < 4
    with pytest.raises(DataError, match=r"x\.zip: is damaged: its directory lists 2 members, .* list 4"):
        ZipTree(path)


def test_an_archive_with_a_comment_is_counted(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a/1.png": b"x"})
    with zipfile.ZipFile(path, "a") as packed:
        packed.comment = b"of its maker" * 2000
    assert ZipTree(path).files == ["a/1.png"]


def test_a_file_does_not_vanish_because_its_damaged_name_is_that_of_a_folder(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"cat/": b"", "cat/1.png": b"x", "cat/2.png": b"x"})
    data = path.read_bytes()
    central = data.rindex(b"cat/2.png")
    path.write_bytes(data[: central + 8] + b"/" + data[central + 9 :])
    assert [bad.place for bad in ZipTree(path).bad] == ["cat/2.pn/"]


def test_a_damaged_member_does_not_vanish_because_its_name_lost_its_ending(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"cat/1.png": b"x", "cat/2.png": b"x", "dog/1.png": b"x"})
    data = path.read_bytes()
    central = data.rindex(b"cat/2.png")
    path.write_bytes(data[: central + 8] + b"\0" + data[central + 9 :])
    with pytest.raises(DataError, match=r"cat/2\.pn: is damaged: .* 'cat/2\.png'"):
        load_images(path, size=8, channels=1, cache=False)
