"""Height and width of feature maps: what a window of convolution or pooling leaves of them."""

from __future__ import annotations

Size = tuple[int, int]
PADDINGS = ("valid", "same")


def after(layer: str, size: Size, window: int, padding: str = "valid", stride: int = 1) -> Size:
    """Return the size that a convolution or pooling leaves.

    Parameters
    ----------
    layer : str
        Its name, for the message.
    size : (height, width)
        Of what it is given, in pixels.
    window : int
        Height and width of its window.
    padding : {"valid", "same"}
        `same` fills the border up, so that every window fits.
    stride : int
        Step of the window.

    Returns
    -------
    (height, width)

    Raises
    ------
    ValueError
        If the window is larger than what it is given.

    Examples
    --------
    >>> from cnnboost.cnn.architectures.maps import after
    >>> after("pool1", (46, 46), 4, stride=4)
    (11, 11)
    """
    height, width = size
    if padding == "same":
        return -(-height // stride), -(-width // stride)
    if min(size) < window:
        raise ValueError(f"{layer} needs {window}x{window} pixels or more and is given {height}x{width}")
    return (height - window) // stride + 1, (width - window) // stride + 1
