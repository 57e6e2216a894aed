"""From the bytes of an image file to the pixels that a CNN gets.

This is the only code that does so: training, extraction and prediction all see the same pixels.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnboost.errors import BadInput, DataError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_PIXELS = 1 << 26  # 67 million: above any camera in use, below what would exhaust memory
ORIENTATION = 0x0112
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GREY = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"})
_OTHER = {
    b"GIF8": "a GIF file",
    b"%PDF": "a PDF file",
    b"PK\x03\x04": "a zip archive",
    b"<svg": "an SVG file",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 file",
}


class InputSpec(NamedTuple):
    """The shape that a CNN wants.

    Attributes
    ----------
    height, width : int
        In pixels.
    channels : int
        1 for grey, 3 for RGB.
    """

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height} x {self.width} {'grey' if self.channels == 1 else 'RGB'}"


def bad_input(place: str, reason: str) -> DataError:
    """Return the error for one input: its message says both, its ``bad`` keeps them apart."""
    return DataError(f"{place}: {reason}", [BadInput(place, reason)])


def decode_image(data: bytes, spec: InputSpec, place: str, *, resize: bool = True) -> np.ndarray:
    """Decode one image file.

    Grey is the luma of ITU-R BT.601. Palettes, CMYK and 1-bit images are converted; 16-bit grey is
    scaled to 8 bits with rounding; transparency is laid over black, the value of zero padding. The
    EXIF orientation is applied. Another size is reached by bilinear interpolation with antialiasing.

    Parameters
    ----------
    data : bytes
        Content of a PNG, JPEG, BMP, TIFF or WebP file. The name of the file plays no part.
    spec : InputSpec
        Wanted shape.
    place : str
        Where the image stands, for messages.
    resize : bool, default=True
        If False, another size is an error.

    Returns
    -------
    ndarray of shape (height, width, channels), dtype uint8, values 0 to 255

    Raises
    ------
    DataError
        Empty, truncated, animated or oversized images, and what is no image at all. Its ``bad`` holds
        one `BadInput`.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (4, 2), (255, 0, 0)).save(file, "PNG")
    >>> decode_image(file.getvalue(), InputSpec(2, 4, 1), "red.png")[0, 0]
    array([76], dtype=uint8)
    """
    image = open_image(data, place)
    mode = "L" if spec.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    return _fit(image, spec, place, resize)


def fit_array(pixels: np.ndarray, spec: InputSpec, place: str, *, resize: bool = True) -> np.ndarray:
    """Bring decoded pixels to the wanted shape, by the same rules as `decode_image`.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 1) or (height, width, 3), dtype uint8
    spec, place, resize
        As in `decode_image`.

    Returns
    -------
    ndarray of shape (height, width, channels), dtype uint8
    """
    if pixels.shape == tuple(spec):
        return pixels
    channels = pixels.shape[2]
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    if channels != spec.channels:
        image = image.convert("L" if spec.channels == 1 else "RGB")
    return _fit(image, spec, place, resize)


def image_shape(data: bytes, place: str) -> InputSpec:
    """Return the shape that an image file has by itself: upright, grey (1) or RGB (3)."""
    image = open_image(data, place)
    return InputSpec(image.height, image.width, 1 if image.mode == "L" else 3)


def _fit(image: Image.Image, spec: InputSpec, place: str, resize: bool) -> np.ndarray:
    size = (spec.width, spec.height)
    if image.size != size:
        if not resize:
            raise bad_input(
                place,
                f"is {image.height} x {image.width} pixels (height x width), the first image "
                f"{spec.height} x {spec.width}; give size= to resize all of them",
            )
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(spec)


def open_image(data: bytes, place: str) -> Image.Image:
    """Decode one image file to a Pillow image of mode L or RGB, upright and opaque.

    Raises
    ------
    DataError
        As `decode_image`.
    """
    if not data:
        raise bad_input(place, "is empty (0 bytes)")
    plain = _plain_jpeg(data)
    if plain is not None:
        try:
            # Pillow's own decoder without its parser in Python, which costs as much as a small image.
            return Image.frombytes(plain[0], plain[1], data, "jpeg", plain[0], "")
        except (ValueError, OSError):
            pass  # damaged: the full parser below finds the words for it
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image.size, place)
        frames = getattr(image, "n_frames", 1)
        # In an MPO (a camera's JPEG with a preview or depth image behind it) the first frame is the photo.
        if frames > 1 and image.format != "MPO":
            raise bad_input(place, f"has {frames} frames or pages; save the one that is meant as a file")
        image.load()
        return _opaque(ImageOps.exif_transpose(image), place)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise bad_input(place, f"is {_kind(data)}; accepted are {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise bad_input(place, f"has more than {MAX_PIXELS} pixels, the limit") from None
    except MemoryError:
        raise
    except Exception as error:
        raise bad_input(place, f"is truncated or damaged ({error})") from error


def _kind(data: bytes) -> str:
    for magic, name in _OTHER.items():
        if data.startswith(magic):
            return name
    return "not an image, or its header is damaged"


def _check_size(size: tuple[int, int], place: str) -> None:
    width, height = size
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise bad_input(place, f"claims {height} x {width} pixels; the limit is {MAX_PIXELS} in all")


def _opaque(image: Image.Image, place: str) -> Image.Image:
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise bad_input(
            place, f"has {image.mode!r} pixels (32 bits), whose range is unknown; save it as 8-bit"
        )
    grey = image.mode in _GREY
    if image.mode in _ALPHA or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba)
    return image.convert("L" if grey else "RGB")


def _plain_jpeg(data: bytes) -> tuple[str, tuple[int, int]] | None:
    """Mode and size of a JPEG that needs no more than decoding; None for everything else.

    Plain is: 8 bits, grey or three components, no EXIF (orientation), no Adobe marker (colour
    transform), not larger than the limit. Markers as in ITU-T T.81, annex B.
    """
    if data[:2] != b"\xff\xd8":
        return None
    place, end = 2, len(data) - 9
    found: tuple[str, tuple[int, int]] | None = None
    while place < end and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xDA:  # the scan begins
            return found
        if marker in (0xE1, 0xE2, 0xEE) or marker == 0xFF or 0xD0 <= marker <= 0xD9:
            return None
        if marker in (0xC0, 0xC1, 0xC2):
            height = data[place + 5] << 8 | data[place + 6]
            width = data[place + 7] << 8 | data[place + 8]
            mode = {1: "L", 3: "RGB"}.get(data[place + 9])
            if found or mode is None or data[place + 4] != 8 or not 0 < width * height <= MAX_PIXELS:
                return None
            found = (mode, (width, height))
        elif 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xCC):
            return None  # lossless, hierarchical: left to Pillow
        place += 2 + (data[place + 2] << 8 | data[place + 3])
    return None
