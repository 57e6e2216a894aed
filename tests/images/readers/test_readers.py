from pathlib import Path

import pytest

from cnnboost.errors import DataError
from cnnboost.images.readers import READERS, find_reader
from cnnboost.images.readers.listing import split_of
from tests.images.conftest import write_folder, write_zip


def test_each_source_has_its_reader(tmp_path):
    write_folder(
        tmp_path, {"folder/a/1.png": b"x", "fer.CSV": b"x", "set.npz": b"x", "cifar/data_batch_1.bin": b"x"}
    )
    packed = write_zip(tmp_path / "faces.zip", {"a/1.png": b"x"})
    packed.rename(tmp_path / "no-suffix")
    write_zip(tmp_path / "faces.zip", {"a/1.png": b"x"})
    kinds = {
        name: type(find_reader(str(tmp_path / name))).__name__
        for name in ("folder", "fer.CSV", "set.npz", "cifar", "faces.zip", "no-suffix")
    }
    assert kinds == {
        "folder": "FolderReader",
        "fer.CSV": "CsvReader",
        "set.npz": "NpzReader",
        "cifar": "CifarReader",
        "faces.zip": "ZipReader",
        "no-suffix": "ZipReader",
    }
    assert type(find_reader("digits")).__name__ == "DigitsReader"


def test_a_source_that_is_not_there_is_named_with_what_is_near(tmp_path):
    (tmp_path / "fer2013.zip").touch()
    with pytest.raises(DataError) as caught:
        find_reader(str(tmp_path / "fer2031.zip"))
    message = str(caught.value)
    assert f"looked for {tmp_path / 'fer2031.zip'}" in message
    assert "Did you mean 'fer2013.zip'?" in message
    assert all(reader.accepts in message for reader in READERS)
    with pytest.raises(DataError, match="mean 'digits'"):
        find_reader("digit")


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "data.tar.gz"
    path.write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match=r"data\.tar\.gz: is a gzip file; unpack it and give the folder"):
        find_reader(Path(path))
    path = tmp_path / "data.bin"
    path.write_bytes(b"\0" * 20)
    with pytest.raises(DataError, match=r"data\.bin: no reader for this kind of file\. Accepted: .*\.zip"):
        find_reader(path)


@pytest.mark.parametrize("word", ["happy", "", "trainer", "1"])
def test_other_words_are_no_splits(word):
    assert split_of(word) is None
