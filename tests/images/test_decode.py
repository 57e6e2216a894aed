import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from cnnboost.errors import DataError
from cnnboost.images.decode import (
    MAX_PIXELS,
    ColourError,
    InputSpec,
    claimed_pixels,
    decode_image,
    fit_array,
    image_shape,
)

from .conftest import encode

GREY, RGB = InputSpec(8, 8, 1), InputSpec(8, 8, 3)


@settings(max_examples=40, deadline=None)
@given(
    pixels=st.sampled_from([1, 3]).flatmap(
        lambda c: st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
            lambda size: arrays(np.uint8, (*size, c))
        )
    ),
    kind=st.sampled_from(["PNG", "BMP", "TIFF", "WEBP"]),
)
def test_lossless_file_decodes_to_the_array_it_was_made_of(pixels, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_image(encode(pixels, kind, **options), InputSpec(*pixels.shape), "x")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 30}, {"subsampling": 2}, {"restart_marker_rows": 1}]
)
def test_jpeg_is_what_pillow_decodes(pixels, channels, options):
    data = encode(pixels(21, 17, channels), "JPEG", **options)
    image = Image.open(io.BytesIO(data))
    want = np.asarray(image).reshape(21, 17, channels)
    np.testing.assert_array_equal(decode_image(data, InputSpec(21, 17, channels), "x"), want)
    small = np.asarray(image.convert("L").resize((12, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_image(data, InputSpec(16, 12, 1), "x")[..., 0], small)


def test_resizing_averages_and_does_not_skip():
    stripes = np.zeros((8, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    small = decode_image(encode(stripes), InputSpec(8, 8, 1), "x")
    assert np.all(np.abs(small[:, 1:-1].astype(int) - 127) <= 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_orientation_is_honoured(kind, orientation):
    image = Image.new("L", (16, 8), 0)
    image.paste(255, (0, 0, 8, 8))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {3: (8, 16), 6: (16, 8), 8: (16, 8)}[orientation]
    data = encode(image.convert("RGB") if kind == "WEBP" else image, kind, exif=exif)
    assert image_shape(data, "x")[:2] == upright
    decoded = decode_image(data, InputSpec(*upright, 1), "x")[..., 0]
    white = {3: decoded[:, 8:], 6: decoded[:8], 8: decoded[8:]}[orientation]
    assert white.min() > 240
    assert decoded.mean() == pytest.approx(127, abs=6)


def palette() -> Image.Image:
    """White above, red below."""
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 255, 255, 200, 0, 0])
    image.paste(1, (0, 4, 8, 8))
    return image


@pytest.mark.parametrize(
    ("data", "top", "bottom"),
    [
        (encode(palette()), [255, 255, 255], [200, 0, 0]),
        (encode(palette(), transparency=0), [0, 0, 0], [200, 0, 0]),  # lies over black
        (encode(Image.new("L", (8, 8), 7)), [7, 7, 7], [7, 7, 7]),
        (encode(Image.new("1", (8, 8), 1)), [255, 255, 255], [255, 255, 255]),
        (encode(Image.new("LA", (8, 8), (200, 0))), [0, 0, 0], [0, 0, 0]),
        (encode(Image.new("RGBA", (8, 8), (200, 100, 50, 128))), [100, 50, 25], [100, 50, 25]),
        (encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), [255, 0, 0], [255, 0, 0]),
        (encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), [255, 0, 0], [255, 0, 0]),
        (encode(np.full((8, 8), 128 * 257, np.uint16)), [128] * 3, [128] * 3),
        (encode(np.full((8, 8), 65535, np.uint16), "TIFF"), [255] * 3, [255] * 3),
    ],
)
def test_every_mode_becomes_opaque_8_bit_pixels(data, top, bottom):
    decoded = decode_image(data, RGB, "x")
    np.testing.assert_allclose(decoded[0, 0], top, atol=14)
    np.testing.assert_allclose(decoded[7, 7], bottom, atol=14)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello, I am a text file", "not an image"),
        (b"GIF89a" + bytes(50), "header is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer.*run 'git lfs pull'"),
        (b"/annex/objects/MD5E-s1--x.png", "git-annex pointer"),
        (b"\r\n <!DOCTYPE html><html>Not found", "HTML page.*download the file again"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "XML document.*download"),
        (b"<?xml version='1.0'?><svg xmlns='x'>", "SVG drawing.*save it as PNG"),
        (b"<svg>", "SVG drawing"),
        (b"\0\0\0\x18ftypheic" + bytes(90), "HEIC picture .install pillow-heif"),
        (b"\0\0\0\x18ftypmif1" + bytes(90), "HEIC picture"),
        (b"\0\0\0\x18ftypcrx " + bytes(90), "RAW file"),
        (b"FUJIFILMCCD-RAW", "RAW file"),
        (b"8BPS\0\1" + bytes(90), "Photoshop"),
        (b"\0\0\0\x0cjP  " + bytes(90), "JPEG 2000"),
        (b"\xff\x0a" + bytes(90), "JPEG XL"),
        (bytes(128) + b"DICM", "DICOM"),
        (bytes(257) + b"ustar", "tar archive"),
        (b"\0\0\0\x18ftypisom" + bytes(90), "a video"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"Rar!\x1a\x07", "RAR archive"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\xd8\xff\xe0", "truncated|not an image"),
        (encode(np.zeros((8, 8), np.float32), "TIFF"), "'F' pixels"),
    ],
)
def test_what_is_not_an_image_is_named(data, reason):
    with pytest.raises(DataError, match=rf"train/a\.png: .*({reason})") as caught:
        decode_image(data, GREY, "train/a.png")
    (bad,) = caught.value.bad
    assert bad.place == "train/a.png"
    assert bad.reason in str(caught.value)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_truncated_at_any_place_is_refused(pixels, kind):
    data = encode(pixels(), kind)
    needed = len(data) - (0 if kind == "PNG" else 2)
    accepted = []
    for length in range(1, needed, 3):
        try:
            decode_image(data[:length], GREY, "x")
        except DataError:
            continue
        accepted.append(length)
    assert accepted == []


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF", "AVIF"])
def test_frames_are_refused_by_name(pixels, kind):
    frames = [Image.fromarray(pixels(8, 8, 3)) for _ in range(3)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"x\.img: has 3 frames"):
        decode_image(data, RGB, "x.img")


def test_a_bomb_is_refused_before_it_is_decoded():
    side = int(MAX_PIXELS**0.5) + 1
    data = encode(Image.new("1", (side, side)))
    assert len(data) < 100_000
    with pytest.raises(DataError, match=r"x\.png: .*limit"):
        decode_image(data, GREY, "x.png")
    jpeg = bytearray(encode(np.zeros((8, 8), np.uint8), "JPEG"))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(DataError, match="limit"):
        decode_image(bytes(jpeg), GREY, "x.jpg")


def test_fit_array_is_decode_image(pixels):
    image = pixels(10, 12, 3)
    for spec in (InputSpec(10, 12, 3), InputSpec(10, 12, 1), InputSpec(5, 6, 3), InputSpec(20, 7, 1)):
        np.testing.assert_array_equal(fit_array(image, spec, "x"), decode_image(encode(image), spec, "x"))


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """A PNG of colours (3) or colours and alpha (4) of 16 bits, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_twelve_bits_in_sixteen_are_refused_and_not_nearly_black(kind):
    pixels = np.full((8, 8), 4095, dtype=np.uint16)
    with pytest.raises(DataError, match=r"x\.png: has 16-bit pixels of at most 4095, .* nearly black"):
        decode_image(encode(pixels, kind), GREY, "x.png")
    assert decode_image(encode(pixels * 0, kind), GREY, "x.png").max() == 0
    assert decode_image(encode(pixels * 16, kind), GREY, "x.png").max() == 255


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_twelve_bits_in_colours_of_sixteen_are_refused_too(channels):
    pixels = np.full((8, 8, channels), 4095, dtype=np.uint16)
    pixels[..., 3:] = 65535
    with pytest.raises(DataError, match="nearly black"):
        decode_image(png_of_16_bits(pixels), RGB, "x.png")
    pixels[0, 0] = 65535
    assert decode_image(png_of_16_bits(pixels), RGB, "x.png")[0, 0].tolist() == [255, 255, 255]


def test_a_file_that_states_its_maximum_is_scaled_by_it():
    pixels = np.full((8, 8), 4095, dtype=np.uint16)
    pixels[0] = 0
    decoded = decode_image(encode(pixels, "TIFF", tiffinfo={281: 4095}), GREY, "x.tif")
    assert (decoded[0].max(), decoded[1:].min()) == (0, 255)
    with pytest.raises(DataError, match="has the pixel 4095, though its header says that 1000 is white"):
        decode_image(encode(pixels, "TIFF", tiffinfo={281: 1000}), GREY, "x.tif")


def test_previews_in_raw_files_are_not_taken_for_the_photograph(pixels):
    for tags in ({254: 1}, {50706: b"\1\4\0\0"}):
        with pytest.raises(DataError, match=r"x\.nef: is a camera's RAW file, or a preview only"):
            decode_image(encode(pixels(8, 8, 3), "TIFF", tiffinfo=tags), RGB, "x.nef")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "AVIF"])
def test_more_formats(pixels, kind):
    grey = pixels()
    if kind != "AVIF":
        np.testing.assert_array_equal(decode_image(encode(grey, kind), GREY, "x"), grey)
    colour = np.zeros((8, 8, 3), np.uint8) + np.uint8([200, 100, 50])
    decoded = decode_image(encode(colour, kind, **({"quality": 100} if kind == "AVIF" else {})), RGB, "x")
    assert np.abs(decoded.astype(int) - colour).max() <= 3


def test_colour_in_a_grey_set_can_be_told(pixels):
    with pytest.raises(ColourError):
        decode_image(encode(pixels(8, 8, 3)), GREY, "x", colour=False)
    decode_image(encode(pixels()), GREY, "x", colour=False)


@pytest.mark.parametrize(
    "image", [Image.new(mode, (9, 5)) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")]
)
def test_the_header_tells_the_shape_that_decoding_gives(image):
    spec = image_shape(encode(image), "x")
    assert spec == (5, 9, 1 if image.mode in ("1", "L", "LA", "I;16") else 3)


def test_changed_pixels_of_a_png_do_not_match_its_checksum():
    pattern = np.arange(300, dtype=np.uint8).reshape(20, 15)
    data = bytearray(encode(pattern, compress_level=0))  # no compression notices the change
    data[data.index(b"IDAT") + 40] ^= 1
    with pytest.raises(DataError, match=r"a\.png: is (damaged: its content does not match|truncated)"):
        decode_image(bytes(data), InputSpec(20, 15, 1), "a.png")
    # Without its zlib checksum, Pillow alone takes other pixels for good.
    start = data.index(b"IDAT")
    size = int.from_bytes(data[start - 4 : start], "big")
    cut = (
        data[: start - 4]
        + (size - 4).to_bytes(4, "big")
        + data[start : start + size]
        + data[start + 4 + size :]
    )
    taken = np.asarray(Image.open(io.BytesIO(bytes(cut))))
    assert (taken != pattern).any()
    with pytest.raises(DataError, match=r"a\.png: is damaged: its content does not match its checksums"):
        decode_image(bytes(cut), InputSpec(20, 15, 1), "a.png")


def test_many_pixels_of_16_bits_are_scaled_exactly_and_in_little_memory():
    pixels = np.random.default_rng(0).integers(0, 65536, (1000, 1003), dtype=np.uint16)
    wanted = (pixels.astype(np.int64) * 255 + 32767) // 65535
    content = encode(pixels)
    tracemalloc.start()
    try:
        decoded = decode_image(content, InputSpec(1000, 1003, 1), "x.png")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(decoded[..., 0], wanted)
    assert most < 8 * pixels.size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"])
def test_the_pixels_that_a_header_claims(kind):
    content = encode(np.zeros((30, 20), np.uint8), kind)
    assert claimed_pixels(content[: len(content) if kind in ("TIFF", "WEBP") else -8]) == 600
    assert [claimed_pixels(bad) for bad in (b"", b"no", content[:10])] == [0, 0, 0]
