import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.cnn.architectures import build
from cnnboost.cnn.architectures.options import one_of, real, share, whole, wholes
from cnnboost.errors import ModelError

anything = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=True), st.text(max_size=3), st.just([1])
)


@given(anything)
def test_a_whole_number_is_taken_or_named(value):
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5
    if good:
        assert whole("size", value, 1, 5) == value
    else:
        with pytest.raises(ValueError, match=r"size=.* must be a whole number from 1 to 5"):
            whole("size", value, 1, 5)


@given(anything)
def test_a_share_is_taken_or_named(value):
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
    if good:
        assert share("dropout", value) == value
    else:
        with pytest.raises(ValueError, match=r"dropout=.* must be a number in \[0, 1\)"):
            share("dropout", value)


@given(anything)
def test_a_number_is_taken_or_named(value):
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1e6
    if good:
        assert real("width", value, exclusive=True) == value
    else:
        with pytest.raises(ValueError, match=r"width=.* must be a number above 0"):
            real("width", value, exclusive=True)
    assert real("l2", 0) == 0


def test_lists_and_words():
    assert wholes("dense", (64, 7)) == [64, 7]
    assert one_of("padding", "same", ("valid", "same")) == "same"
    with pytest.raises(ValueError, match=r"dense=64 must be a list"):
        wholes("dense", 64)
    with pytest.raises(ValueError, match=r"dense\[1\]=0 must be a whole number from 1 to 16384"):
        wholes("dense", [64, 0])
    with pytest.raises(ValueError, match=r"filters=\[\] must hold 1 or more"):
        wholes("filters", [], least=1)
    with pytest.raises(ValueError, match=r"padding='full' must be one of 'valid', 'same'"):
        one_of("padding", "full", ("valid", "same"))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("digits", "dropout", 1.0),
        ("digits", "filters", 32),
        ("efficientnetv2", "depth_coefficient", 0),
        ("efficientnetv2", "drop_stages", [7]),
        ("efficientnetv2", "drop_stages", [1, 2, 3, 4, 5, 6]),
        ("efficientnetv2", "stochastic_depth", 1),
        ("efficientnetv2", "top_filters", 0),
        ("efficientnetv2", "width_coefficient", -0.5),
        ("imperial_cnn", "dropout", -0.1),
        ("imperial_cnn", "first_padding", "half"),
        ("imperial_cnn", "pool_size", 0),
        ("imperial_mlp", "dense", []),
        ("imperial_mlp", "dense", [1000.0]),
        ("linear", "l2", -1),
        ("oslo", "dropout", 1.5),
        ("oslo", "filters", []),
        ("oslo", "kernel_size", 2.5),
        ("oslo", "l2", "much"),
        ("oslo", "padding", "full"),
        ("oslo", "pool_padding", 1),
        ("oslo", "pool_size", True),
        ("vgg19", "frozen_blocks", 6),
        ("vgg19", "scaling", "mean"),
        ("vgg19", "weights", 3),
    ],
)
def test_an_impossible_value_is_named_with_what_would_do(name, option, value):
    with pytest.raises(ModelError) as caught:
        build(name, (48, 48, 1), 7, {option: value})
    message = str(caught.value)
    assert message.startswith(f"architecture {name!r} cannot be built")
    assert f": {option}" in message
    assert "must" in message
