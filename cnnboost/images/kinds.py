"""What a file is, by its name and its first bytes."""

from __future__ import annotations

from pathlib import PurePosixPath

HEAD = 512  # bytes that tell a kind; a tar archive is the slowest to say so
_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".mpo", ".bmp", ".dib", ".tif", ".tiff"),
    *(".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
# Pictures that are not decoded are refused by name: to pass over them would lose them without a word.
_OTHER_PICTURES = (
    *(".heic", ".heif", ".hif", ".svg", ".psd", ".xcf", ".jp2", ".j2k", ".jxl", ".ico", ".tga", ".exr"),
    *(".pfm", ".dcm", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"),
)
_AS_IMAGES = frozenset((*_SUFFIXES, *_OTHER_PICTURES))
_UNPACK = "unpack it and give the folder"
_SAVE = "save it as PNG or JPEG"
_KINDS: tuple[tuple[int, bytes | tuple[bytes, ...], str, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer in place of the file", "run 'git lfs pull'"),
    (0, b"/annex/objects/", "a git-annex pointer in place of the file", "run 'git annex get'"),
    (0, b"8BPS", "a Photoshop file", _SAVE),
    (0, b"gimp xcf", "a GIMP file", _SAVE),
    (4, b"jP  ", "a JPEG 2000 file", _SAVE),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 file", _SAVE),
    (0, b"\xff\x0a", "a JPEG XL file", _SAVE),
    (4, b"JXL ", "a JPEG XL file", _SAVE),
    (0, b"\x00\x00\x01\x00", "an icon file", _SAVE),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR file", _SAVE),
    (128, b"DICM", "a DICOM file", "save its pixels as 8-bit PNG"),
    (0, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\x00"), "a camera's RAW file", _SAVE),
    (4, b"ftypcrx", "a camera's RAW file", _SAVE),
    (4, b"ftypavi", "an AVIF file that Pillow cannot read here", _SAVE),
    (4, (b"ftyphe", b"ftypmif1", b"ftypmsf1"), "a HEIC picture", "install pillow-heif, or " + _SAVE),
    (4, b"ftyp", "a video", "save the frames that are meant as images"),
    (0, b"\x1a\x45\xdf\xa3", "a video", "save the frames that are meant as images"),
    (0, b"%PDF", "a PDF file", "save its pictures as images"),
    (0, b"PK\x03\x04", "a zip archive", "give it a name that ends with .zip, or unpack it"),
    (0, b"\x1f\x8b", "a gzip file", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its arrays as .npz (X, y)"),
    (0, b"MATLAB 5.0", "a MATLAB file", "save its arrays as .npz (X, y)"),
    (0, b"\x93NUMPY", "a single NumPy array", "save images and labels as .npz (X, y)"),
    (0, b"PAR1", "a Parquet file", "write its images into class folders"),
    (0, b"SQLite format 3", "an SQLite database", "write its images into class folders"),
)
_PICKLE = "a pickle, which could run any code when it is read"
_BY_SUFFIX = {
    **dict.fromkeys((".tfrecord", ".tfrecords"), ("a TFRecord file", "write its images into class folders")),
    **dict.fromkeys((".tar", ".tgz"), ("a tar archive", _UNPACK)),
    **dict.fromkeys((".pkl", ".pickle"), (_PICKLE, "save its arrays as .npz (X, y)")),
    **dict.fromkeys((".pt", ".pth"), ("a PyTorch file", "save its arrays as .npz (X, y)")),
    ".xlsx": ("a spreadsheet", "save it as .csv"),
}


def is_picture(head: bytes) -> bool:
    """Tell by its first bytes whether a file is of a kind that can be decoded."""
    return (
        head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"GIF87a", b"GIF89a"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
        or (head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace())
        or head[4:11] == b"ftypavi"
    )


def named_as_image(path: str) -> bool:
    """Tell by its name whether a file should be a picture, of a kind that can be decoded or not."""
    return path[path.rfind(".") :].lower() in _AS_IMAGES  # asked for every file: pathlib takes too long


def kind_of(head: bytes, name: str = "") -> tuple[str, str] | None:
    """Say what a file is that is not a picture of a kind that can be decoded, and what to do about it."""
    for offset, magic, kind, remedy in _KINDS:
        if head.startswith(magic, offset):
            return kind, remedy
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page, not an image", "download the file again"
    if start.startswith((b"<svg", b"<?xml")):
        svg = b"<svg" in start
        return ("an SVG drawing", _SAVE) if svg else ("an XML document", "download the file again")
    return _BY_SUFFIX.get(PurePosixPath(name).suffix.lower())
