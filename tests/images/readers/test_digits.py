import numpy as np

from cnnboost.images import load_images
from cnnboost.images.readers import find_reader


def test_digits_are_spread_over_the_grey_levels():
    from sklearn.datasets import load_digits

    images = load_images("digits", cache=False, validation_fraction=0)
    digits = load_digits()
    assert images.shape == (1797, 8, 8, 1)
    assert (images.X.min(), images.X.max()) == (0, 255)
    np.testing.assert_array_equal(np.rint(images.X[..., 0] * (16 / 255)), digits.images)
    np.testing.assert_array_equal(images.y, digits.target)
    assert images.classes == tuple("0123456789")


def test_its_file_stands_for_its_content():
    (stamp,) = find_reader("digits").files("digits")
    assert stamp.name == "digits.csv.gz"
    assert stamp.size > 10_000
