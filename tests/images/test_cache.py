import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest

from cnnboost.errors import StoreError
from cnnboost.images import cache as cache_module
from cnnboost.images import load_images
from cnnboost.images.cache import cache_folder

from .conftest import encode, write_folder, write_zip


@pytest.fixture
def source(tmp_path, faces):
    path = write_zip(tmp_path / "faces.zip", faces)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


@pytest.fixture
def decoded(monkeypatch):
    """Paths of the sets that were really decoded."""
    made = []
    real = cache_module._write
    monkeypatch.setattr(cache_module, "_write", lambda entry, *a: made.append(entry) or real(entry, *a))
    return made


def entries(folder):
    return sorted(path for path in (folder / "images").iterdir() if path.is_dir())


def same(one, other):
    np.testing.assert_array_equal(one.X, other.X)
    np.testing.assert_array_equal(one.y, other.y)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.splits, other.splits)
    assert (one.classes, one.digest, one.bad) == (other.classes, other.digest, other.bad)


def test_decoded_once_and_mapped_from_then_on(source, tmp_path, decoded):
    first = load_images(source, cache=tmp_path / "cache")
    second = load_images(source, cache=tmp_path / "cache")
    assert isinstance(first.pixels, np.memmap)
    assert not second.pixels.flags.writeable
    same(first, second)
    same(first, load_images(source, cache=False))
    shutil.copytree(tmp_path / "cache", tmp_path / "copy", copy_function=shutil.copyfile)
    same(first, load_images(source, cache=tmp_path / "copy"))
    assert len(decoded) == 1
    (entry,) = entries(tmp_path / "cache")
    np.testing.assert_array_equal(np.load(entry / "images.npy"), first.X)
    assert sorted(path.name for path in entry.iterdir()) == ["images.npy", "rows.npz", "set.json"]


def test_the_key_is_content_and_wishes_and_never_the_path(source, tmp_path, decoded, faces):
    cache = tmp_path / "cache"
    load_images(source, cache=cache)
    load_images(shutil.copy(source, tmp_path / "copy.zip"), cache=cache)
    load_images(source, cache=cache, drop=["sad"], validation_fraction=0.3, seed=4)
    assert len(decoded) == 1
    load_images(source, cache=cache, size=4)
    load_images(source, cache=cache, channels=3)
    assert len(decoded) == 3
    changed = faces | {"train/sad/9.png": encode(np.zeros((8, 8), np.uint8))}
    assert len(load_images(write_zip(source, changed), cache=cache)) == 15
    assert len(decoded) == 4


def change(name, edit):
    """A damage: the bytes of one file of the set, edited; its time stamp is another then."""

    def damage(entry):
        path = entry / name
        path.write_bytes(edit(path.read_bytes()))
        os.utime(path, (1, 1))

    return damage


def pipe(name):
    def damage(entry):
        (entry / name).unlink()
        os.mkfifo(entry / name)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        change("set.json", lambda data: data.replace(b'"happy"', b'"bored"')),
        change("set.json", lambda data: b"[" * 100_000),
        change("set.json", lambda data: data[:40]),
        change("images.npy", lambda data: data.replace(b", }", b", (")),
        change("images.npy", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        change("images.npy", lambda data: data[:300]),
        change("images.npy", lambda data: data + b"x"),
        change("images.npy", lambda data: b""),
        change("rows.npz", lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:]),
        change("rows.npz", lambda data: data[:50]),
        pipe("rows.npz"),
        pipe("images.npy"),
        lambda entry: (entry / "images.npy").unlink(),
    ],
)
def test_a_damaged_set_is_named_and_made_again(source, tmp_path, damage):
    first = load_images(source, cache=tmp_path)
    want = first.X.copy(), first.digest
    (entry,) = entries(tmp_path)
    damage(entry)
    with pytest.warns(UserWarning, match="truncated or altered") as caught:
        again = load_images(source, cache=tmp_path)
    assert entry.name in str(caught[0].message)
    np.testing.assert_array_equal(again.X, want[0])
    assert again.digest == want[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_images(source, cache=tmp_path)


def test_bad_inputs_are_remembered(tmp_path, faces, decoded):
    source = write_folder(tmp_path / "faces", faces | {"train/sad/zz.png": b""})
    for _ in range(2):
        images = load_images(source, cache=tmp_path / "cache", on_bad="skip")
        assert [bad.place for bad in images.bad] == ["train/sad/zz.png"]
        assert len(images) == 14
        with pytest.raises(ValueError, match=r"1 of 15 images cannot be used: train/sad/zz\.png: is empty"):
            load_images(source, cache=tmp_path / "cache")
    assert len(decoded) == 1
    (entry,) = entries(tmp_path / "cache")
    assert np.load(entry / "images.npy").shape == (14, 8, 8, 1)


def left_over(folder):
    return [path.name for path in folder.rglob("*") if ".tmp-" in path.name]


def test_nothing_half_written_is_left_by_an_interruption_or_a_kill(source, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        load_images(source, cache=cache, progress=stop)
    assert entries(cache) == left_over(cache) == []
    load_images(source, cache=cache)
    (entry,) = entries(cache)
    entry.rename(entry.with_name(f"{entry.name}.tmp-killed"))
    assert len(load_images(source, cache=cache)) == 14
    assert left_over(cache) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve space")
def test_a_full_disk_is_an_error_that_says_how_much(source, tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from cnnboost.images import load_images\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "load_images(sys.argv[1], cache=sys.argv[2])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path / "cache")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "StoreError" in done.stderr
    assert "896 bytes are needed" in done.stderr
    assert left_over(tmp_path / "cache") == []
    assert len(load_images(source, cache=tmp_path / "cache")) == 14


def test_a_cache_that_cannot_be_a_folder_is_named(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be written.*CNNBOOST_CACHE"):
        load_images(source, cache=tmp_path / "file")


def test_two_processes_want_the_same_set(tmp_path, rng):
    members = {
        f"train/{name}/{k}.png": encode(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        for name in "ab"
        for k in range(100)
    }
    source = write_zip(tmp_path / "faces.zip", members)
    # A plain script without a main guard, as users write them.
    code = (
        "import sys\n"
        "from cnnboost.images import load_images\n"
        "done = []\n"
        "images = load_images(sys.argv[1], cache=sys.argv[2], progress=lambda *a: done.append(a))\n"
        "print(images.digest, bool(done))\n"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    output = [process.communicate(timeout=120)[0].split() for process in running]
    assert {digest for digest, _ in output} == {load_images(source, cache=False).digest}
    assert sorted(decoded for _, decoded in output) == ["False", "True"]
    assert left_over(tmp_path / "cache") == []


def test_the_folder_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CNNBOOST_CACHE", str(tmp_path / "own"))
    assert cache_folder(tmp_path / "named") == tmp_path / "named"
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("CNNBOOST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cnnboost"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "cnnboost"
