import numpy as np
import pytest

from cnnboost.cnn.teacher import images_digest, made_from, read_teacher, teacher_digest, write_teacher
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
    np.testing.assert_array_equal(read_teacher(path, X.astype(np.float32), NAMES), LOGS)
    assert made_from(path) == "abc"
    assert made_from(path.with_name("other.npz")) is None


def test_classes_need_not_be_strings(tmp_path):
    path = write_teacher(tmp_path / "t.npz", LOGS, X, [0, 1, 7])
    np.testing.assert_array_equal(read_teacher(path, X, np.array([0, 1, 7])), LOGS)


def test_the_same_facts_make_the_same_file(path, tmp_path):
    other = write_teacher(tmp_path / "elsewhere" / "t.npz", LOGS, X, NAMES, "abc")
    assert teacher_digest(other) == teacher_digest(path)
    changed = LOGS + np.float32(1e-3)
    assert teacher_digest(write_teacher(other, changed, X, NAMES, "abc")) != teacher_digest(path)


def test_images_are_known_by_content_size_and_order():
    digest = images_digest(X)
    assert images_digest(X.copy()) == digest
    assert images_digest(X.astype(np.float64) + 0.2) == digest
    for other in (X[::-1], X ^ 1, X.reshape(6, 2, 8, 1), X[:5]):
        assert images_digest(np.ascontiguousarray(other)) != digest


@pytest.mark.parametrize(
    ("images", "classes", "words"),
    [
        (X[:5], NAMES, "has seen 6 images, there are 5"),
        (X[::-1], NAMES, "other images than these 6, of another size, or in another order"),
        (X ^ 1, NAMES, "other images than these 6"),
        (
            X,
            ["angry", "sad", "happy"],
            "in another order: angry, happy, sad; the student has angry, sad, happy",
        ),
        (X, ["angry", "happy", "fear"], "knows other classes: angry, happy, sad; the student has"),
        (X, ["angry", "happy"], "knows other classes"),
    ],
)
def test_rows_of_something_else_are_refused(path, images, classes, words):
    with pytest.raises(DataError, match=words) as refused:
        read_teacher(path, np.ascontiguousarray(images), classes)
    assert "cnnboost teach -r RECIPE --model" in str(refused.value)
    assert str(path) in str(refused.value)


def npz(path, **changed):
    facts = dict(np.load(path))
    np.savez(path, **{k: v for k, v in (facts | changed).items() if v is not None})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b""), "damaged, or not the file of a teacher"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "damaged"),
        (lambda path: np.save(path.open("wb"), LOGS), "not the file of a teacher"),
        (lambda path: np.savez(path, a=LOGS), "not the file of a teacher"),
        (lambda path: npz(path, classes=np.array([object()])), "damaged"),
        (lambda path: npz(path, format=np.int64(2)), "format 2, this version reads 1"),
        (lambda path: npz(path, log_probabilities=LOGS[:, :2]), r"shape \(6, 2\) for 3 classes"),
        (lambda path: npz(path, log_probabilities=LOGS.astype(np.float64)), "float64 log-probabilities"),
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


def test_what_cannot_be_a_teacher_is_not_written(tmp_path):
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


def test_without_a_file_there_is_no_digest(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        teacher_digest(tmp_path / "t.npz")
