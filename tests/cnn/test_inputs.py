import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from cnnboost.cnn.inputs import check_fits, check_images, check_pixels, scale_pixels
from cnnboost.errors import DataError, ModelError, ParameterError


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=6)))
def test_uint8_images_pass_as_they_are(X):
    assert check_images(X) is X


@given(hnp.arrays(st.sampled_from([np.int16, np.int64, np.uint32]), (2, 3, 4), elements=st.integers(0, 255)))
def test_integers_become_uint8_with_a_channel(X):
    checked = check_images(X)
    assert checked.dtype == np.uint8
    np.testing.assert_array_equal(checked[..., 0], X)


def test_memory_maps_are_not_read(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((4, 2, 2, 1), np.uint8))
    X = np.load(path, mmap_mode="r")
    assert isinstance(check_images(X), np.memmap)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros((0, 8, 8)), ["no pixels", "(0, 8, 8, 1)"]),
        (np.zeros((3, 0, 8, 1)), ["no pixels"]),
        (np.zeros(64), ["X[None]"]),
        (np.zeros((3, 64)), ["image_shape"]),
        (np.zeros((1, 2, 2, 1, 1)), ["(1, 2, 2, 1, 1)"]),
        (np.full((2, 2, 2), 300), ["0..255", "300"]),
        (np.full((2, 2, 2), -1), ["0..255", "-1"]),
        (np.full((2, 2, 2), 255.5), ["0..255", "255.5"]),
        (np.full((2, 2, 2), 0.5), ["fractions", "X * 255"]),
        (np.eye(2).reshape(1, 2, 2), ["0.0 and 1.0 only", "X.astype(bool)"]),
        (np.ones((1, 2, 2), np.float32), ["0.0 and 1.0 only", "X.astype('uint8')"]),
        (np.array([[[["a"]]]]), ["numbers", "<U1"]),
        (csr_array(np.eye(4)), ["toarray"]),
    ],
)
def test_what_is_not_an_image_set_is_refused(X, words):
    with pytest.raises(DataError) as caught:
        check_images(X)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_pixel_that_is_not_a_number_names_its_image(bad):
    X = np.full((5, 2, 2), 200.0)
    X[3, 1, 1] = bad
    with pytest.raises(DataError, match="image 3 "):
        check_images(X)


def test_flat_rows_take_the_stated_shape_if_they_can():
    X = np.arange(24, dtype=np.uint8).reshape(2, 12)
    np.testing.assert_array_equal(check_images(X, (3, 4))[0, :, :, 0], X[0].reshape(3, 4))
    assert check_images(X, (2, 2, 3)).shape == (2, 2, 2, 3)
    with pytest.raises(DataError, match=r"63 values.*takes 64"):
        check_images(np.zeros((2, 63)), (8, 8))
    with pytest.raises(DataError, match="image_shape"):
        check_images(np.zeros((2, 64)), (64,))


def test_fitting_knows_free_dimensions():
    check_fits(np.zeros((1, 9, 5, 1)), (None, None, 1))
    with pytest.raises(ModelError, match=r"9x5x1.*anyx5x3"):
        check_fits(np.zeros((1, 9, 5, 1)), (None, 5, 3))


@pytest.mark.parametrize(("pixels", "mode"), [("symmetric", "tf"), ("caffe", "caffe"), ("torch", "torch")])
def test_scales_of_keras_applications_to_the_last_bit(pixels, mode):
    import keras

    x = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3)).astype(np.float32)
    expected = keras.applications.imagenet_utils.preprocess_input(
        x.copy(), data_format="channels_last", mode=mode
    )
    np.testing.assert_array_equal(scale_pixels(x, pixels), expected)
    assert scale_pixels(x, pixels).dtype == np.float32
    np.testing.assert_array_equal(scale_pixels(x, "unit"), x / 255)
    assert scale_pixels(x, "raw") is x
    with pytest.raises(ParameterError, match=r"unknown scale.*caffe.*torch"):
        check_pixels("imagenet")


@pytest.mark.parametrize("pixels", ["caffe", "torch"])
def test_scales_by_channel_refuse_other_channels(pixels):
    with pytest.raises(ParameterError, match=f"'{pixels}'.*3 channels, the images have 1"):
        scale_pixels(np.zeros((1, 2, 2, 1), np.float32), pixels)
