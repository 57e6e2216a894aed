import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cnnboost.errors import StoreError
from cnnboost.files import (
    digest_of,
    disk_error,
    file_digest,
    open_regular,
    parsed_json,
    read_json,
    read_regular,
    reason_of,
    remove,
    replacing,
    while_used,
    write_bytes,
    write_json,
)


def test_a_file_is_whole_and_alone(tmp_path):
    path = write_json(tmp_path / "deep" / "metadata.json", {"b": 1, "a": [1.5, None]})
    assert json.loads(path.read_text()).keys() == {"a", "b", "facts_sha256"}
    assert read_json(path) == {"b": 1, "a": [1.5, None]}
    assert [p.name for p in path.parent.iterdir()] == ["metadata.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_bytes(tmp_path / "x.bin", b"old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_bytes(b"ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_the_temporary_name_keeps_folder_and_ending(tmp_path):
    with replacing(tmp_path / "model.keras") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".keras")
        temporary.write_bytes(b"x")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"x\.json cannot be written"):
        write_json(tmp_path / "file" / "x.json", {})


def test_json_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_long_name_is_as_good_as_a_short_one_up_to_the_limit(tmp_path):
    name = "é" * 120 + ".json"
    assert write_json(tmp_path / name, {}).is_file()
    with pytest.raises(StoreError, match=r"File name too long\. Choose a shorter name"):
        write_json(tmp_path / ("x" * 300), {})
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_with_both_numbers(tmp_path):
    def write():
        with replacing(tmp_path / "x.bin", needed=5000) as temporary:
            assert temporary.is_file()
            Path("/dev/full").write_bytes(b"x")

    said = r"x\.bin cannot be written: No space left on device \(5,000 bytes are needed, [\d,]+ are free\)"
    with pytest.raises(StoreError, match=said):
        write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EDQUOT, "quota"), (errno.EROFS, "may write to"), (errno.EIO, "permissions")]
)
def test_the_remedy_fits_the_reason(number, remedy):
    error = disk_error("x.bin", OSError(number, os.strerror(number)))
    assert f"x.bin cannot be written: {os.strerror(number)}" in str(error)
    assert remedy in str(error).split(". ")[-1]


WRITER = """
import sys
from cnnboost.files import replacing

with replacing(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and locks")
def test_what_a_kill_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    path, alike = tmp_path / "metrics.json", tmp_path / ".metrics.mine.json"
    alike.write_text("")
    command = [sys.executable, "-c", WRITER, str(path)]
    live, killed = (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    for one in (live, killed):
        assert one.stdout.readline() == "writing\n"
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.glob(".metrics.*.json"))) == 3
    write_json(path, {})
    assert len(list(tmp_path.glob(".metrics.*.json"))) == 2
    live.communicate("")
    assert live.returncode == 0
    assert path.read_bytes() == b"half"
    assert sorted(tmp_path.iterdir()) == [alike, path]


USER = """
import sys
from cnnboost.files import while_used

with while_used(sys.argv[1], b"theirs") as used:
    print(used, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and locks")
def test_a_file_is_there_while_it_is_used_and_each_user_has_one(tmp_path):
    path = tmp_path / "graph.onnx"
    command = [sys.executable, "-c", USER, str(path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        theirs = Path(other.stdout.readline().strip())
        with while_used(path, b"mine") as mine:
            assert (mine.read_bytes(), theirs.read_bytes()) == (b"mine", b"theirs")
            assert (mine.parent, mine.suffix) == (tmp_path, ".onnx")
        assert list(tmp_path.iterdir()) == [theirs]
    finally:
        other.kill()
        other.communicate()
    assert theirs.is_file()
    with while_used(path, b"mine"):
        assert not theirs.exists()
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match=r"x\.onnx cannot be written"),
        while_used(tmp_path / "file/x.onnx", b""),
    ):
        pass


def test_a_file_is_removed_with_what_a_killed_process_left_of_it(tmp_path):
    alike = [tmp_path / name for name in (".x.swp", ".x.0a1b2c3.md", ".y.0a1b2c3d.md")]
    for path in (tmp_path / "x.md", tmp_path / ".x.0a1b2c3d.md", *alike):
        path.touch()
    for _ in range(2):
        remove(tmp_path / "x.md")
        assert set(tmp_path.iterdir()) == set(alike)
    (tmp_path / "x.md").mkdir()
    with pytest.raises(StoreError, match=r"x\.md cannot be removed: "):
        remove(tmp_path / "x.md")


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"a": NaN}', "[" * 100_000, '{"facts_sha256": 1}', None]
)
def test_what_is_not_a_json_object_is_none(tmp_path, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert read_json(path) is None


def test_a_pipe_in_place_of_a_document_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.json")
    assert read_json(tmp_path / "x.json") is None
    with pytest.raises(StoreError, match=r"x\.json cannot be read: a named pipe"):
        parsed_json(tmp_path / "x.json", "remedy")


def test_digests(tmp_path):
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert file_digest(write_bytes(tmp_path / "x", b"")) == empty


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="this system has no /dev/null")
def test_a_device_or_a_folder_is_not_replaced(tmp_path):
    for place in (Path("/dev/null"), tmp_path):
        with pytest.raises(StoreError, match="it is a folder or a device"):
            write_bytes(place, b"x")
    assert Path("/dev/null").is_char_device()


def test_a_regular_file_is_read_up_to_a_limit(tmp_path):
    path = write_bytes(tmp_path / "x", b"x" * 100)
    assert read_regular(path) == read_regular(path, 100) == b"x" * 100
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_regular(path, 10)
    with open_regular(path) as file:
        assert file.read() == b"x" * 100
    assert read_regular("/proc/self/stat") if Path("/proc/self/stat").exists() else True


@pytest.mark.parametrize("read", [read_regular, open_regular])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    for name, told in (
        ("pipe", "a named pipe, not a regular file"),
        ("/dev/zero", "a device, not a regular file"),
        (".", "a folder, not a regular file"),
        ("socket", "socket|No such device"),
        ("a\0b", "cannot hold a zero byte"),
        ("x" * 300, "too long"),
    ):
        with pytest.raises(OSError, match=told):
            read(name)
    server.close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"), "No such file or directory"),
        (OSError("no number"), "no number"),
        (ValueError(" two\n  lines\t"), "two lines"),
        (TimeoutError(), "TimeoutError"),
        (RuntimeError("x" * 5000), "x" * 300),
        (StoreError("y" * 400), "y" * 400),
    ],
)
def test_the_reason_of_an_error_is_one_line(error, reason):
    assert reason_of(error) == reason
