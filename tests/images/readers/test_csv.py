import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.images import ImageSet, load_images
from cnnboost.images.readers.csv import output_orders

USAGES = ["Training", "Training", "Training", "PublicTest", "PrivateTest"]
LABELS = [3, 0, 6, 3, 6]
GOOD = "1 2 3 4 5 6 7 8 9 0 0 0 0 0 0 16"
LINE = r"row 2 \(line 3\)"


@pytest.fixture
def faces(rng) -> np.ndarray:
    return rng.integers(0, 256, (5, 4, 4), dtype=np.uint8)


def text(face: np.ndarray) -> str:
    return " ".join(map(str, face.ravel()))


def write(path, lines: list[str], newline: str = "\n"):
    path.write_bytes((newline.join(lines) + newline).encode())
    return path


def lines_of(faces, header="emotion,pixels,Usage", row="{label},{pixels},{usage}") -> list[str]:
    parts = zip(LABELS, map(text, faces), USAGES, strict=True)
    return [header, *(row.format(label=label, pixels=pixels, usage=usage) for label, pixels, usage in parts)]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("emotion,pixels,Usage", "{label},{pixels},{usage}"),
        ("emotion, Usage, pixels", "{label}, {usage},{pixels}"),
        ("\ufeffemotion,pixels,Usage", '{label},"{pixels}","{usage}"'),
        ("emotion;pixels;Usage", "{label};{pixels};{usage}"),
        ("x, emotion,pixels,Usage ,tab\t,", "x, {label},{pixels},{usage} ,tab\t,"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_layouts_in_circulation_are_the_same_set(tmp_path, faces, header, row, newline):
    images = load_images(write(tmp_path / "fer.csv", lines_of(faces, header, row), newline), cache=False)
    np.testing.assert_array_equal(images.X[..., 0], faces)
    assert images.classes == ("angry", "happy", "neutral")
    assert images.train.labels.tolist() == ["happy", "angry", "neutral"]
    assert images.validation.ids.tolist() == ["row 4"]
    assert images.test.labels.tolist() == ["neutral"]


def test_without_usage_all_rows_are_train(tmp_path, faces):
    path = write(tmp_path / "train.csv", lines_of(faces, "emotion,pixels", "{label},{pixels}"))
    images = load_images(path, size=(8, 6), channels=3, cache=False, validation_fraction=0)
    assert images.split_names == ("train",)
    assert images.shape == (5, 8, 6, 3)


def test_rows_are_sorted_by_split_and_keep_their_numbers(tmp_path, faces):
    lines = lines_of(faces)
    lines[1:] = lines[:0:-1]
    images = load_images(write(tmp_path / "fer.csv", lines), cache=False)
    assert images.ids.tolist() == ["row 3", "row 4", "row 5", "row 2", "row 1"]
    np.testing.assert_array_equal(images.test.X[0, ..., 0], faces[4])


@pytest.mark.parametrize(
    ("row", "place", "reason"),
    [
        (f"3,{GOOD[:-3]},Training", "row 2", "has 15 pixels; .* 16 .4 x 4."),
        ("3,,Training", "row 2", "has 0 pixels"),
        (f"3,{GOOD.replace('3', 'x')},Training", LINE, "pixel 'x' at position 3"),
        (f"3,{GOOD.replace('3', '256')},Training", LINE, "pixel '256' at position 3"),
        (f"7,{GOOD},Training", LINE, "label '7'; labels are 0 to 6"),
        (f"-1,{GOOD},Training", LINE, "label '-1'"),
        (f"x,{GOOD},Training", LINE, "label 'x'"),
        (f",{GOOD},Training", LINE, "has the label ''"),
        (f"{'9' * 5000},{GOOD},Training", LINE, "has the label '9{20}'"),
        (f"3,{GOOD},Holdout", LINE, "Usage 'Holdout'; .*PublicTest"),
        (f"3,{GOOD}", LINE, "has 2 columns"),
        (f"3,{GOOD},Training,", LINE, "has 4 columns"),
    ],
)
def test_a_bad_row_is_named_and_can_be_skipped(tmp_path, faces, row, place, reason):
    lines = lines_of(faces)
    lines[2] = row
    path = write(tmp_path / "fer.csv", lines)
    with pytest.raises(DataError, match=rf"1 of 5 images cannot be used: {place}: .*{reason}"):
        load_images(path, cache=False)
    images = load_images(path, cache=False, on_bad="skip")
    assert images.ids.tolist() == ["row 1", "row 3", "row 4", "row 5"]
    assert len(images.bad) == 1


def test_the_first_row_does_not_decide_on_the_size(tmp_path, faces):
    lines = lines_of(faces)
    lines[1] = "3,1 2 3 4,Training"
    with pytest.raises(DataError, match="row 1: has 4 pixels; the other rows have 16"):
        load_images(write(tmp_path / "fer.csv", lines), cache=False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "has no columns named 'emotion'"),
        (["emotion,pixels,Usage"], "holds no usable row"),
        (
            ["emotion,Usage", "3,Training"],
            r"no columns named 'pixels' in its first line \('emotion', 'usage'\)",
        ),
        (["pixels", "1 2 3 4"], "no columns named 'emotion'"),
        (["emotion,pixels,Pixels ", "3,1 2 3 4,1 2 3 4"], "2 columns named 'pixels'"),
        (["emotion,pixels", "9,1 2 3 4"], r"no usable row: row 1 \(line 2\) has the label '9'"),
        (["emotion,pixels", "3,1 2 3"], "3 pixels, which make no square image"),
    ],
)
def test_a_file_that_is_not_an_image_set_is_refused(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        load_images(write(tmp_path / "fer.csv", lines), cache=False)


def test_utf_16_is_named(tmp_path):
    (tmp_path / "fer.csv").write_bytes("emotion,pixels\n".encode("utf-16"))
    with pytest.raises(DataError, match="UTF-16; save it as UTF-8"):
        load_images(tmp_path / "fer.csv", cache=False)


FER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
NUMBERS = tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("classes", "orders"),
    [
        (tuple(sorted(NUMBERS)), [tuple(sorted(NUMBERS)), NUMBERS]),
        (("00", "01", "10"), [("00", "01", "10")]),
        (("class10", "class2", "x"), [("class10", "class2", "x"), ("class2", "class10", "x")]),
        (("9", "10"), [("9", "10"), ("10", "9")]),  # the data's own order comes first
        (tuple(sorted(FER)), [tuple(sorted(FER)), FER]),
        (("Happy", "Neutral", "Sad"), [("Happy", "Neutral", "Sad"), ("Happy", "Sad", "Neutral")]),
    ],
)
def test_orders_in_which_a_network_may_give_the_classes(classes, orders):
    X = np.zeros((len(classes), 2, 2), np.uint8)
    images = ImageSet.from_arrays(X, np.arange(len(classes)), classes=classes, source="folder")
    assert output_orders(images) == orders


def test_the_order_of_a_csv_is_that_of_its_numbers(tmp_path):
    rows = [f"{emotion},7 7 7 7,Training" for emotion in range(7) for _ in range(2)]
    images = load_images(write(tmp_path / "faces.csv", ["emotion,pixels,Usage", *rows]), cache=False)
    assert images.classes == tuple(sorted(FER))
    assert output_orders(images)[0] == FER


def test_rows_of_a_large_file_are_read_again_when_they_are_asked_for(tmp_path, faces, monkeypatch):
    path = write(tmp_path / "fer.csv", [*lines_of(faces), f"3,{GOOD} 7,Training", "", f"2,{GOOD},Training"])
    kept = load_images(path, cache=False, on_bad="skip")
    monkeypatch.setattr("cnnboost.images.readers.csv.KEPT", 40)
    again = load_images(path, cache=False, on_bad="skip")
    np.testing.assert_array_equal(again.X, kept.X)
    assert again.digest == kept.digest
    assert (again.ids.tolist(), again.bad) == (kept.ids.tolist(), kept.bad)
    streamed = load_images(path, cache=tmp_path / "c", on_bad="skip", stream_above=0)
    np.testing.assert_array_equal(streamed.X, kept.X)
    path.write_bytes(path.read_bytes().replace(b"Training", b"Trainers"))
    with pytest.raises(
        DataError, match=r"row 1: was changed while it was in use: it has the Usage 'Trainers'"
    ):
        streamed.part(0, 2)
