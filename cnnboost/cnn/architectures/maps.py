"""Height and width of feature maps: what a window of convolution or pooling leaves of them."""

from __future__ import annotations

Size = tuple[int, int]
PADDINGS = ("valid", "same")


def after(layer: str, size: Size, window: int, padding: str = "valid", stride: int = 1) -> Size:
    """Return the size that a convolution or pooling leaves."""
    height, width = size
    if padding == "same":
        return -(-height // stride), -(-width // stride)
    if min(size) < window:
        raise ValueError(f"{layer} needs {window}x{window} pixels or more and is given {height}x{width}")
    return (height - window) // stride + 1, (width - window) // stride + 1
