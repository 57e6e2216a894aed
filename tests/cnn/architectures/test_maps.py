import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.cnn.architectures.maps import after


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from(["valid", "same"]),
)
def test_sizes_are_those_of_keras(height, width, window, stride, padding):
    import keras

    layer = keras.layers.MaxPooling2D(window, stride, padding=padding)
    if padding == "valid" and min(height, width) < window:
        with pytest.raises(
            ValueError, match=f"pool7 needs {window}x{window} pixels .* given {height}x{width}"
        ):
            after("pool7", (height, width), window, padding, stride)
    else:
        assert (
            after("pool7", (height, width), window, padding, stride)
            == layer.compute_output_shape((None, height, width, 1))[1:3]
        )
