"""The orders in which a network from elsewhere may give its classes."""

import numpy as np

from cnnboost.images import ImageSet, load_images
from cnnboost.images.orders import output_orders

FER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def images_of(*classes, source="folder"):
    X = np.zeros((len(classes), 2, 2), np.uint8)
    return ImageSet.from_arrays(X, np.arange(len(classes)), classes=classes, source=source)


def test_numbers_have_two_orders():
    names = tuple(sorted(map(str, range(12))))
    assert output_orders(images_of(*names)) == [names, tuple(map(str, range(12)))]
    assert output_orders(images_of("00", "01", "10")) == [("00", "01", "10")]
    assert output_orders(images_of("class10", "class2", "x")) == [
        ("class10", "class2", "x"),
        ("class2", "class10", "x"),
    ]


def test_the_datas_own_order_comes_first():
    assert output_orders(images_of("9", "10"))[0] == ("9", "10")  # whole numbers in an .npz
    assert output_orders(images_of("cat", "Dog"))[0] == ("cat", "Dog")


def test_emotions_have_their_numbers():
    assert output_orders(images_of(*sorted(FER))) == [tuple(sorted(FER)), FER]
    assert output_orders(images_of("Happy", "Neutral", "Sad"))[1] == ("Happy", "Sad", "Neutral")


def test_a_csv_keeps_the_order_of_its_numbers_and_its_set_does_not_change(tmp_path):
    path = tmp_path / "faces.csv"
    rows = [f"{emotion},{' '.join(['7'] * 4)},Training" for emotion in range(7) for _ in range(2)]
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]))
    images = load_images(path, cache=False)
    assert images.classes == tuple(sorted(FER))
    assert output_orders(images)[0] == FER
