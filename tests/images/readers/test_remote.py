"""Images behind URLs: memory://, and an HTTP server on this machine that can stumble."""

from __future__ import annotations

import contextlib
import http.server
import os
import sys
import threading
from collections import Counter

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.images import load_images, pool, remote
from cnnboost.images.shared import SharedRows
from tests.images.conftest import write_folder

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def bucket(faces):
    """A folder of class folders in fsspec's own memory."""
    system = fsspec.filesystem("memory")
    for name, data in faces.items():
        system.pipe(f"/bucket/faces/{name}", data)
    yield "memory://bucket/faces"
    system.rm("/bucket", recursive=True)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; some answers can be spoilt, by the name of the file."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        self.server.asked[name] += 1
        fault = self.server.faults.get(name)
        if isinstance(fault, set):  # these of the requests fail
            fault = "503" if self.server.asked[name] in fault else None
        if fault == "500" or (fault == "500 once" and self.server.asked[name] == 1):
            self.send_error(500)
        elif fault in ("403", "429", "503"):
            self.send_error(int(fault))
        elif fault == "endless":  # and it knows neither its length nor ranges
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(5000):
                    self.wfile.write(bytes(1 << 16))
                    self.server.sent += 1 << 16
            self.close_connection = True
        elif fault == "silent":
            self.server.ended.wait(30)
            self.close_connection = True
        elif fault == "cut off":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"\x89PNG")
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(faces, tmp_path):
    """An HTTP server of the faces; `server.url`, and `server.faults` by file name."""
    pytest.importorskip("aiohttp")
    folder = write_folder(tmp_path / "served", faces)

    def handler(*args):
        return _Handler(*args, directory=str(folder))

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    found.faults, found.asked, found.sent, found.ended = {}, Counter(), 0, threading.Event()
    found.url = f"http://127.0.0.1:{found.server_port}"
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.ended.set()
    found.shutdown()
    found.server_close()
    thread.join(10)


def write_list(path, lines) -> str:
    path.write_text("# images\n\n" + "\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def local(tmp_path, faces):
    return load_images(write_folder(tmp_path / "local", faces), cache=False)


def same(found, local) -> None:
    np.testing.assert_array_equal(found.X, local.X)
    assert found.ids.tolist() == local.ids.tolist()
    assert found.labels.tolist() == local.labels.tolist()
    assert found.splits.tolist() == local.splits.tolist()


@pytest.mark.parametrize("options", [{}, {"stream_above": 0}], ids=["cached", "streamed"])
def test_a_folder_at_a_url_is_the_folder(tmp_path, bucket, faces, local, options):
    found = load_images(bucket, cache=tmp_path / "c", **options)
    same(found, local)
    assert load_images(bucket, cache=tmp_path / "c", **options).digest == found.digest
    fsspec.filesystem("memory").pipe("/bucket/faces/train/sad/0.png", faces["test/sad/0.png"])
    assert load_images(bucket, cache=tmp_path / "c", **options).digest != found.digest


@pytest.mark.parametrize("options", [{}, {"stream_above": 0}], ids=["cached", "streamed"])
def test_a_list_of_urls_whose_folders_are_the_classes(tmp_path, server, faces, local, options):
    source = write_list(tmp_path / "list.txt", [f"{server.url}/{name}" for name in faces])
    server.faults["3.png"] = "500 once"  # a server may stumble
    same(load_images(source, cache=tmp_path / "c", **options), local)


def test_a_list_names_classes_and_splits_and_may_lie_at_a_url(tmp_path, bucket, faces):
    (tmp_path / "here.png").write_bytes(faces["train/sad/1.png"])
    lines = [
        "here.png\tsad",
        f"{bucket}/train/happy/0.png\thappy\ttrain",
        f"{bucket}/test/happy/0.png\thappy\ttest",
    ]
    images = load_images(write_list(tmp_path / "list.tsv", lines), cache=False, validation_fraction=0)
    assert images.labels.tolist() == ["sad", "happy", "happy"]
    assert images.splits.tolist() == ["train", "train", "test"]
    assert images.ids[0].endswith("/here.png")
    fsspec.filesystem("memory").pipe("/bucket/list.txt", "\n".join(lines[1:]).encode())
    again = load_images("memory://bucket/list.txt", cache=False, validation_fraction=0)
    np.testing.assert_array_equal(again.X, images.X[1:])


@pytest.mark.parametrize(
    ("name", "fault", "reason"),
    [
        ("absent.png", None, "does not exist"),
        ("2.png", "500", r"cannot be read \(status 500\)"),
        ("2.png", "cut off", r"cannot be read \("),
    ],
)
def test_what_a_server_does_wrong_is_named(tmp_path, server, monkeypatch, name, fault, reason):
    monkeypatch.setattr(remote, "_WAITS", (0.01,))
    names = ["train/happy/0.png", "train/happy/1.png", "train/sad/0.png", f"train/sad/{name}"]
    source = write_list(tmp_path / "list.txt", [f"{server.url}/{one}" for one in names])
    server.faults[name] = fault
    expected = rf"1 of 4 images cannot be used: sad/{name}: {reason}"
    with pytest.raises(DataError, match=expected):
        load_images(source, cache=tmp_path / "c", size=8, channels=1)
    images = load_images(source, cache=tmp_path / "d", size=8, channels=1, stream_above=0)
    with pytest.raises(DataError, match=expected):
        list(images.chunks(8))
    assert len(load_images(source, cache=tmp_path / "c", size=8, channels=1, on_bad="skip")) == 3


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], r"list\.txt: names no images; each line is <path or URL>"),
        (["a/1.png", "a/1.png"], r"a/1\.png is on line 3 and on line 4"),
        (["a/1.png\ta", "a/2.png"], "line 4 names no class and line 3 one"),
        (["a/1.png\ta\tvalidate"], "line 3 has the split 'validate'; use train, validation or test"),
        (["a/1.png\t\ttrain"], r"line 3 .* is not of the form"),
        (["a/1.png\ta\ttrain\tx"], r"line 3 .* is not of the form"),
    ],
)
def test_a_list_that_cannot_be_read(tmp_path, lines, complaint):
    with pytest.raises(DataError, match=complaint):
        load_images(write_list(tmp_path / "list.txt", lines), cache=False)


def test_urls_that_cannot_be_read(tmp_path, bucket, monkeypatch):
    for source, complaint in {
        "memory://bucket/nothing": "holds no files",
        f"{bucket}.zip": "download it, and give the file",
        "nope://bucket/faces": "a URL of the protocol 'nope', which is not read; accepted are .*https",
        f"simplecache::{bucket}": "is a chain of URLs",
        "sftp:///x": r"sftp:///x: (cannot be reached|to read it takes another package)",
        "file:///dev/zero": "'/dev/zero' cannot be read .a device, not a regular file",
        "memory://bucket/list.txt?x=1": "holds no files",
        "memory://bucket/list.txt": "the list memory://bucket/list.txt: does not exist",
    }.items():
        with pytest.raises(DataError, match=complaint):
            load_images(source, cache=tmp_path / "c")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(DataError, match=r"takes fsspec: pip install 'cnnboost\[remote\]'"):
        load_images(bucket, cache=tmp_path / "c")


def test_what_a_list_names_is_a_file_or_a_url_of_few_kinds(tmp_path, faces):
    (tmp_path / "a b.png").write_bytes(faces["train/sad/1.png"])
    os.mkfifo(tmp_path / "pipe.png")
    lines = [
        f"file://{tmp_path}/a%20b.png\tsad",
        "file:///dev/zero\tsad",
        f"file://{tmp_path}/pipe.png\tsad",
        "reference://x::http://127.0.0.1/refs.json\tsad",
        "local:///etc/hostname\tsad",
    ]
    images = load_images(
        write_list(tmp_path / "list.txt", lines), cache=False, validation_fraction=0, on_bad="skip"
    )
    assert images.ids.tolist() == [str(tmp_path / "a b.png")]
    reasons = [one.reason for one in images.bad]
    assert [reason.partition(";")[0] for reason in reasons] == [
        "cannot be read (a device, not a regular file)",
        "cannot be read (a named pipe, not a regular file)",
        "is a chain of URLs (::), which is not read",
        "is a URL of the protocol 'local', which is not read",
    ]


@pytest.mark.parametrize("place", ["/etc/hostname", "file:///etc/hostname", "FILE:/etc/hostname"])
def test_a_list_at_a_url_names_no_file_of_this_machine(bucket, place):
    fsspec.filesystem("memory").pipe("/bucket/list.txt", f"a/1.png\tsad\n{place}\tsad\n".encode())
    with pytest.raises(DataError, match=f"line 2 names '{place}', a file of the machine that reads the list"):
        load_images("memory://bucket/list.txt", cache=False)


def test_no_more_is_read_than_is_wanted(server):
    server.faults["1.png"] = "endless"
    place = f"{server.url}/train/sad/1.png"
    assert remote.RemoteTree("x", {"1.png": place}).head("1.png") == bytes(512)
    with pytest.raises(DataError, match=r"1\.png: is larger than 100,000 bytes, the limit"):
        remote.fetch(place, "1.png", 100_000)
    assert server.sent < 5000 << 16
    assert remote.fetch(f"{server.url}/train/sad/0.png", "0.png")[:4] == b"\x89PNG"


@pytest.mark.parametrize(("fault", "times"), [("403", 1), ("429", 3), ("500", 3)])
def test_a_refusal_is_not_asked_again(server, monkeypatch, fault, times):
    monkeypatch.setattr(remote, "_WAITS", (0.01, 0.01))
    server.faults["1.png"] = fault
    with pytest.raises(DataError, match=rf"cannot be read \(status {fault}\)"):
        remote.fetch(f"{server.url}/train/sad/1.png", "1.png")
    assert server.asked["1.png"] == times


@pytest.mark.parametrize("options", [{}, {"stream_above": 0}], ids=["cached", "streamed"])
def test_what_a_server_could_not_give_is_asked_for_again(
    tmp_path, server, faces, local, monkeypatch, caplog, options
):
    """Each file is asked for once to hash it, and once to decode it."""
    monkeypatch.setattr(remote, "_WAITS", ())
    for name, other in (("sad/one.png", "sad/0.png"), ("happy/two.png", "happy/0.png")):
        (tmp_path / "served/train" / name).write_bytes(faces[f"train/{other}"])
    names = [*faces, "train/sad/one.png", "train/happy/two.png"]
    source = write_list(tmp_path / "list.txt", [f"{server.url}/{name}" for name in names])
    options = {"cache": tmp_path / "c", "size": 8, "channels": 1, "on_bad": "skip", **options}
    server.faults["one.png"] = {2, 4}
    first = load_images(source, **options)
    assert [tuple(one) for one in first.bad] == [
        ("train/sad/one.png", "cannot be read (status 503); its server may answer later")
    ]
    assert len(first) == 15
    assert "1 of 16 images could not be read this time; the next run tries" in caplog.text
    second = load_images(source, **options)
    assert (second.bad, second.digest) == (first.bad, first.digest)
    assert (server.asked["one.png"], server.asked["two.png"]) == (4, 3)
    again = load_images(source, **options)
    assert (len(again), again.bad) == (16, ())
    # All images are in one file of the cache, and are decoded together; of those that are streamed, it alone.
    together = "stream_above" not in options
    assert (server.asked["one.png"], server.asked["two.png"]) == (6 + together, 4 + together)
    assert load_images(source, **options).digest == again.digest
    assert server.asked["one.png"] == 7 + together


def test_a_server_that_is_gone_is_not_asked_for_every_image(tmp_path, server, monkeypatch):
    monkeypatch.setattr(remote, "_WAITS", ())
    monkeypatch.setattr(pool, "_GONE", 5)
    for number in range(40):
        (tmp_path / f"served/train/sad/x{number}.png").write_bytes(b"")
        server.faults[f"x{number}.png"] = "500"
    names = [f"{server.url}/train/sad/x{number}.png\tsad" for number in range(40)]
    source = write_list(tmp_path / "list.txt", names)
    for options in ({}, {"stream_above": 0}):
        with pytest.raises(
            DataError, match=r"5 images in a row could not be read .*status 500.*Nothing was kept"
        ):
            load_images(source, cache=tmp_path / "c", size=8, channels=1, on_bad="skip", **options)


def test_a_silent_server_is_not_waited_for_long(server, monkeypatch):
    monkeypatch.setattr(remote, "_WAITS", ())
    monkeypatch.setattr(remote, "_ANSWER_SECONDS", 0.3)
    server.faults["1.png"] = "silent"
    with pytest.raises(
        DataError, match=r"1\.png: cannot be read \(.*[Tt]ime.*\); its server may answer later"
    ):
        remote.fetch(f"{server.url}/train/sad/1.png", "1.png")


def test_signatures_are_not_shown(tmp_path, server, faces):
    """A list at a signed URL, of signed URLs."""
    host = server.url.removeprefix("http://")
    lines = [f"http://{host}/{name}?sig=secret\tsad" for name in ("train/sad/0.png", "train/sad/1.png")]
    lines += [f"http://{host}/train/sad/1.png?sig={one}\tsad" for one in (1, 2)]
    lines.append(f"http://{host}/absent.png?sig=secret\tsad")
    (tmp_path / "served" / "list.txt").write_text("\n".join(lines))
    images = load_images(
        f"{server.url}/list.txt?sig=secret",
        cache=tmp_path / "c",
        stream_above=0,
        validation_fraction=0,
        on_bad="skip",
    )
    assert images.source == f"{server.url}/list.txt"
    assert "secret" not in repr(SharedRows.of(images.train))
    name = f"{server.url}/train/sad/1.png"
    assert images.ids.tolist() == [
        f"{server.url}/train/sad/0.png",
        *(f"{name} (line {line})" for line in (2, 3, 4)),
    ]
    assert [(one.place, one.reason) for one in images.bad] == [(f"{server.url}/absent.png", "does not exist")]


def test_whatever_a_file_system_raises_has_a_place(monkeypatch):
    class NoCredentialsError(Exception):
        pass

    def refuse(url):
        raise NoCredentialsError(f"no credentials for {url}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(DataError, match=r"^ftp://h/x: cannot be reached \(no credentials for ftp://h/x\)"):
        load_images("ftp://user:secret@h/x", cache=False)
