"""From the bytes of an image file to the pixels that a CNN gets.

This is the only code that does so: training, extraction and prediction all see the same pixels.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnboost.errors import BadInput, DataError
from cnnboost.images.kinds import HEAD, kind_of

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
MAX_PIXELS = 1 << 26  # 67 million: above any camera in use, below what would exhaust memory
ORIENTATION = 0x0112
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _MAXIMUM, _DNG = 254, 256, 257, 258, 281, 50706  # TIFF tags
_TWELVE_BITS = 1 << 12
_AT_ONCE = 1 << 16  # pixels of more than 8 bits that are scaled at one time
_SHOWN = 5
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})


class ColourError(Exception):
    """An image is in colour where the set was taken for grey."""


class InputSpec(NamedTuple):
    """The shape that a CNN wants: pixels, and 1 channel for grey or 3 for RGB."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height} x {self.width} {'grey' if self.channels == 1 else 'RGB'}"


def bad_input(place: str, reason: str, kind: type[DataError] = DataError) -> DataError:
    """Return the error for one input: its message says both, its ``bad`` keeps them apart."""
    return kind(f"{place}: {reason}", [BadInput(place, reason)])


def bad_images(source: str, bad: Sequence[BadInput], n: int, at_least: str = "") -> DataError:
    """Return the error for the images of a source that cannot be used."""
    shown = "; ".join(f"{place}: {reason}" for place, reason in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return DataError(
        f"{source}: {at_least}{len(bad)} of {n} images cannot be used: {shown}{more}. Repair or remove them, "
        "or leave them out with on_bad='skip' (--on-bad skip)",
        bad,
    )


def decode_image(
    data: bytes,
    spec: InputSpec,
    place: str,
    *,
    resize: bool = True,
    colour: bool = True,
    most_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode one image file to uint8 pixels (height, width, channels).

    Grey is the luma of ITU-R BT.601. Palettes, CMYK and 1-bit images are converted; 16-bit grey is
    scaled to 8 bits with rounding; transparency is laid over black, the value of zero padding. The
    EXIF orientation is applied. Another size is reached by bilinear interpolation with antialiasing,
    or is an error without `resize`. Without `colour`, an image in colour is a `ColourError` where `spec` is
    grey. An image of more than `most_pixels` is refused by its header, before it is decoded. The name of the
    file plays no part: `place` is for messages.

    A `DataError` with one `BadInput` names an image that is empty, truncated, damaged, animated or oversized,
    one of more than 8 bits that would come out nearly black, and what is not an image.
    """
    image = open_image(data, place, most_pixels)
    if spec.channels == 1 and image.mode != "L" and not colour:
        raise ColourError(place)
    return fit_image(image, spec, place, resize=resize)


def fit_array(pixels: np.ndarray, spec: InputSpec, place: str, *, resize: bool = True) -> np.ndarray:
    """Bring decoded pixels to the wanted shape, by the same rules as `decode_image`."""
    if pixels.shape == tuple(spec):
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    return fit_image(image, spec, place, resize=resize)


def upright_image(image: Image.Image, place: str) -> Image.Image:
    """Bring a Pillow image to mode L or RGB, upright and opaque, by the same rules as `decode_image`."""
    _check_size(image.size, place)
    maximum = _maximum(image)
    try:
        image.load()
        return _upright(image, maximum, place)
    except (OSError, SyntaxError) as error:  # it is only now read from its file
        raise bad_input(place, f"is truncated or damaged ({error})") from error


def image_shape(data: bytes, place: str) -> InputSpec:
    """Return the shape that an image file has by itself, upright, grey (1) or RGB (3), from its header."""
    plain = _plain_jpeg(data)
    if plain is not None:
        mode, size = plain
        return InputSpec(size[1], size[0], 1 if mode == "L" else 3)
    with _reading(data, place) as image:
        width, height = image.size
        if image.format == "TIFF":  # some versions of Pillow have turned its size already
            width, height = _tags(image)[_WIDTH], _tags(image)[_HEIGHT]
        if image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8):
            width, height = height, width
        return InputSpec(height, width, 1 if image.mode in _GREY else 3)


def claimed_pixels(data: bytes) -> int:
    """Return how many pixels an image file has by its header; 0 if it has no header that can be read.

    Nothing is decoded, which `image_shape` may do where it looks for an orientation.
    """
    plain = _plain_jpeg(data)
    try:
        width, height = _open(data).size if plain is None else plain[1]
    except Exception:  # noqa: BLE001 - `decode_image` says what is wrong, and stops at the header too
        return 0
    return width * height


def fit_image(image: Image.Image, spec: InputSpec, place: str, *, resize: bool = True) -> np.ndarray:
    """Bring a Pillow image of mode L or RGB to the wanted shape, by the same rules as `decode_image`."""
    mode = "L" if spec.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
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


def open_image(data: bytes, place: str, most_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one image file to a Pillow image of mode L or RGB, upright and opaque."""
    plain = _plain_jpeg(data, most_pixels)
    if plain is not None:
        try:
            # Pillow's own decoder without its parser in Python, which costs as much as a small image.
            return Image.frombytes(plain[0], plain[1], data, "jpeg", plain[0], "")
        except (ValueError, OSError):
            pass  # damaged: the full parser below says how
    with _reading(data, place, most_pixels) as image:
        maximum = _maximum(image)
        image.load()
        if image.format == "PNG":
            _check_chunks(data, place)
        return _upright(image, maximum, place)


def _upright(image: Image.Image, maximum: int | None, place: str) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    return _opaque(upright if maximum is None else _eight_bits(upright, maximum, place), place)


@contextmanager
def _reading(data: bytes, place: str, most_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image and look at its header; whatever its decoder then trips over is the image's fault."""
    if not data:
        raise bad_input(place, "is empty (0 bytes)")
    try:
        image = _open(data)
        _check_size(image.size, place, most_pixels)
        frames = getattr(image, "n_frames", 1)
        # In an MPO (a camera's JPEG with a preview or depth image behind it) the first frame is the photo.
        if frames > 1 and image.format != "MPO":
            raise bad_input(place, f"has {frames} frames or pages; save the one that is meant as a file")
        tags = _tags(image)
        if tags.get(_SUBFILE, 0) & 1 or _DNG in tags or (tags and data[8:10] == b"CR"):
            raise bad_input(place, "is a camera's RAW file, or a preview only; save it as PNG or JPEG")
        yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        kind = kind_of(data[:HEAD])
        what = " (".join(kind) + ")" if kind else "not an image, or its header is damaged"
        raise bad_input(place, f"is {what}; accepted are {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise bad_input(place, f"has more than {MAX_PIXELS} pixels, the limit") from None
    except MemoryError:
        raise
    except Exception as error:
        raise bad_input(place, f"is truncated or damaged ({error})") from error


def _open(data: bytes) -> Image.Image:
    if data[4:11] == b"ftypavi":
        return Image.open(io.BytesIO(data), formats=("AVIF",))
    if data[4:8] == b"ftyp" and find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
        return Image.open(io.BytesIO(data), formats=("HEIF",))
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _check_chunks(data: bytes, place: str) -> None:
    """Compare all parts of a PNG file with their checksums; Pillow leaves out those of the pixels."""
    view, start, name = memoryview(data), 8, b""
    while name != b"IEND":
        stop = start + 8 + int.from_bytes(view[start : start + 4], "big")
        name = bytes(view[start + 4 : start + 8])
        if len(data) < stop + 4 or zlib.crc32(view[start + 4 : stop]) != int.from_bytes(
            view[stop : stop + 4], "big"
        ):
            raise bad_input(place, "is damaged: its content does not match its checksums (CRC-32)")
        start = stop + 4


def _check_size(size: tuple[int, int], place: str, most_pixels: int = MAX_PIXELS) -> None:
    width, height = size
    if width < 1 or height < 1 or width * height > most_pixels:
        raise bad_input(place, f"claims {height} x {width} pixels; the limit is {most_pixels} in all")


def _opaque(image: Image.Image, place: str) -> Image.Image:
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise bad_input(place, f"has {image.mode!r} pixels, whose range is unknown; save it as 8-bit")
    grey = image.mode in _GREY
    if image.mode in _ALPHA or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba)
    return image.convert("L" if grey else "RGB")


def _tags(image: Image.Image) -> Any:
    """Return the tags of a TIFF file; of others, none."""
    return getattr(image, "tag_v2", {})


def _maximum(image: Image.Image) -> int | None:
    """Return what white is in a file of more than 8 bits; None for others. Only before it is decoded."""
    if image.mode == "I":
        return 65535 if image.format == "PPM" else None
    if image.mode.startswith("I;16"):
        tags = _tags(image)
        stated = tags.get(_MAXIMUM) or (1 << tags.get(_BITS, (16,))[0]) - 1
        return int(stated[0] if isinstance(stated, tuple) else stated)
    return 65535 if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) else None


def _eight_bits(image: Image.Image, maximum: int, place: str) -> Image.Image:
    narrow = not image.mode.startswith("I")  # Pillow cuts colours of 16 bits to 8 by itself
    wide = np.asarray(image)
    colours = wide[..., :-1] if image.mode in _ALPHA else wide
    top = int(colours.max()) << (8 if narrow else 0)
    if top > maximum:
        raise bad_input(place, f"has the pixel {top}, though its header says that {maximum} is white")
    if maximum == 65535 and 0 < top < _TWELVE_BITS:
        raise bad_input(
            place,
            f"has 16-bit pixels of at most {top}, which would come out nearly black: they look like 12 bits "
            "or fewer. Save the images as 8-bit, scaled by their true range",
        )
    if narrow:
        return image
    pixels = np.empty(wide.shape, np.uint8)
    rows = max(1, _AT_ONCE // wide.shape[1])
    # Some rows at a time: the 64-bit integers of all would take four times the memory of the image.
    for start in range(0, len(wide), rows):
        block = wide[start : start + rows].astype(np.int64)
        pixels[start : start + rows] = (block * 255 + maximum // 2) // maximum
    return Image.fromarray(pixels)


def _plain_jpeg(data: bytes, most_pixels: int = MAX_PIXELS) -> tuple[str, tuple[int, int]] | None:
    """Mode and size of a JPEG that needs no more than decoding; None for everything else.

    Plain is: 8 bits, grey or three components, no EXIF (orientation), no Adobe marker (colour
    transform), not larger than the limit. Markers as in ITU-T T.81, annex B.
    """
    if data[:2] != b"\xff\xd8":
        return None
    place, end = 2, len(data) - 9
    plain: tuple[str, tuple[int, int]] | None = None
    while place < end and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xDA:  # the scan begins
            return plain
        if marker in (0xE1, 0xE2, 0xEE) or marker == 0xFF or 0xD0 <= marker <= 0xD9:
            return None
        if marker in (0xC0, 0xC1, 0xC2):
            height = data[place + 5] << 8 | data[place + 6]
            width = data[place + 7] << 8 | data[place + 8]
            mode = {1: "L", 3: "RGB"}.get(data[place + 9])
            if plain or mode is None or data[place + 4] != 8 or not 0 < width * height <= most_pixels:
                return None
            plain = (mode, (width, height))
        elif 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xCC):
            return None  # lossless, hierarchical: left to Pillow
        place += 2 + (data[place + 2] << 8 | data[place + 3])
    return None
