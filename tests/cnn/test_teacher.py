import zipfile

import numpy as np
import pytest

from cnnboost.cnn.teacher import made_from, read_teacher, teacher_digest, write_teacher
from cnnboost.errors import DataError, StoreError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
NAMES = ["angry", "happy", "sad"]
LOGS = np.log(RNG.dirichlet(np.ones(3), 6)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return write_teacher(tmp_path / "teacher.npz", LOGS, X, NAMES, "abc")


def test_what_was_written_is_read(path):
    found = read_teacher(path, X, np.array(NAMES))
    np.testing.assert_array_equal(found, LOGS)
    assert found.dtype == np.float32
    assert made_from(path) == "abc"
    assert made_from(path.with_name("other.npz")) is None


def test_the_same_content_makes_the_same_file(path, tmp_path):
    for number, images in enumerate((X, X[..., 0], X.astype(np.float64), X.astype(np.float32) * 0.999)):
        other = write_teacher(tmp_path / "elsewhere" / f"{number}.npz", LOGS, images, NAMES, "abc")
        assert teacher_digest(other) == teacher_digest(path)
    np.testing.assert_array_equal(read_teacher(path, X.astype(np.float32) * 0.999, NAMES), LOGS)
    changed = write_teacher(tmp_path / "t.npz", LOGS + np.float32(1e-3), X, [0, 1, 7])
    assert teacher_digest(changed) != teacher_digest(path)
    assert read_teacher(changed, X, np.array([0, 1, 7])).shape == (6, 3), "classes need not be strings"


@pytest.mark.parametrize(
    ("images", "classes", "words"),
    [
        (X[:5], NAMES, "asked about 6 images; these 5 are other images"),
        (X[::-1], NAMES, "these 6 are other images, of another size, or in another order"),
        (X ^ 1, NAMES, "these 6 are other images"),
        (X.reshape(6, 2, 8, 1), NAMES, "these 6 are other images"),
        (
            X,
            ["angry", "sad", "happy"],
            "in another order: angry, happy, sad; the student has angry, sad, happy",
        ),
        (X, ["angry", "happy", "fear"], "knows other classes.*: angry, happy, sad; the student has"),
    ],
)
def test_rows_of_something_else_are_refused(path, images, classes, words):
    with pytest.raises(DataError, match=words) as refused:
        read_teacher(path, np.ascontiguousarray(images), classes)
    assert "cnnboost distill -r RECIPE --model" in str(refused.value)
    assert str(path) in str(refused.value)


def no_text():
    """Text whose characters are none."""
    return np.full(3, 0x110000, np.uint32).view("<U1")


def broken_header(path):
    """Describe an array in words that end too early, under a right checksum."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b"), }", b"),  ").replace(b"(), ", b"(   "))


def npz(path, **changed):
    metadata = dict(np.load(path))
    np.savez(path, **{k: v for k, v in (metadata | changed).items() if v is not None})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "no such file"),
        (broken_header, "damaged"),
        (lambda path: npz(path, classes=no_text()), "damaged"),
        (
            lambda path: npz(path, classes=np.full(6, 0x208020, np.uint32).view("U2")),
            "damaged, or not the file of a teacher",
        ),
        (lambda path: path.write_bytes(b""), "damaged, or not the file of a teacher"),
        (lambda path: np.save(path.open("wb"), LOGS), "not the file of a teacher"),
        (lambda path: np.savez(path, a=LOGS), "not the file of a teacher"),
        (lambda path: npz(path, classes=np.array([object()])), "damaged"),
        (lambda path: npz(path, format=np.int64(2)), "format 2, this version reads 1"),
        (lambda path: npz(path, images=np.array(["a", "b"])), "damaged"),
        (lambda path: npz(path, log_probabilities=np.exp(LOGS)), "numbers above 0 in row 0"),
        (lambda path: npz(path, log_probabilities=LOGS[:, :2]), "damaged"),
        (lambda path: npz(path, log_probabilities=LOGS.astype(np.float64)), "damaged"),
        (
            lambda path: npz(path, log_probabilities=np.where(LOGS > -1, LOGS, np.nan)),
            "NaN or infinite in row",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(path, spoil, words):
    spoil(path)
    with pytest.raises(DataError, match=words):
        read_teacher(path, X, NAMES)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.exp(LOGS), r"numbers above 0 in row 0 \(6 such rows in all\); .* give np\.log of probabilities"),
        (LOGS - 1, "probabilities that do not add up to 1 in row 0"),
        (np.where(np.arange(6)[:, None] == 4, -9.0, LOGS), r"in row 4 \(1 such rows in all\)"),
    ],
    ids=["probabilities", "scores", "one row"],
)
def test_rows_that_are_not_logarithms_of_probabilities_are_refused(rows, words, tmp_path):
    with pytest.raises(DataError, match=words):
        write_teacher(tmp_path / "t.npz", rows, X, NAMES)
    assert not any(tmp_path.iterdir())


def test_rounding_and_floors_are_not_faults(tmp_path):
    sure = np.log(np.maximum(np.eye(3)[np.arange(6) % 3], 1e-13))
    for rows in (sure, sure + 5e-7, LOGS.astype(np.float16)):
        write_teacher(tmp_path / "t.npz", rows, X, NAMES)


def test_what_cannot_be_a_teacher_is_not_written(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        teacher_digest(tmp_path / "t.npz")
    with pytest.raises(DataError, match="images must be"):
        write_teacher(tmp_path / "t.npz", LOGS, X.reshape(6, -1), NAMES)
    with pytest.raises(DataError, match=r"ends in \.npz; name it teacher\.npz"):
        write_teacher(tmp_path / "teacher.npy", LOGS, X, NAMES)
    with pytest.raises(DataError, match=r"shape \(6, 3\), 6 images, 2 classes"):
        write_teacher(tmp_path / "t.npz", LOGS, X, NAMES[:2])
    with (
        pytest.raises(DataError, match=r"infinite in row 0 \(6 such rows in all\)"),
        np.errstate(divide="ignore"),
    ):
        write_teacher(tmp_path / "t.npz", np.log(np.zeros((6, 3))), X, NAMES)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(StoreError, match="a folder"):
        write_teacher(tmp_path / "folder.npz", LOGS, X, NAMES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.npz"]
