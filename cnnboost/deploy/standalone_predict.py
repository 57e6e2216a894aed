"""Predict the class of images.

    python predict.py face.png folder/ [--json]

It needs model.onnx, labels.json, and what requirements.txt names. An image of any size is taken as a whole:
give a model of faces faces that were cut out. The exit status is 1 where an image could not be used.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "AVIF")
SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".mpo", ".bmp", ".dib", ".tif", ".tiff"),
    *(".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
}
MOST_PIXELS = 1 << 26
ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
SUBFILE, BITS, WHITE, DNG = 254, 258, 281, 50706  # tags of TIFF files


def open_model(folder: Path, threads: int) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Open the graph, after its checksum was compared."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    model = (folder / "model.onnx").read_bytes()
    if hashlib.sha256(model).hexdigest() != labels["model_sha256"]:
        raise ValueError(f"{folder / 'model.onnx'} is damaged, or not the one that labels.json is about")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]), labels


def find_images(paths: Iterable[str]) -> Iterator[Path]:
    """Give files as they are named, and of folders the images in and below them, in order."""
    for path in map(Path, paths):
        if path.is_dir():
            below = (found for found in path.rglob("*") if found.suffix.lower() in SUFFIXES)
            yield from sorted(found for found in below if found.is_file())
        else:
            yield path


def read_pixels(path: Path, height: int, width: int, channels: int) -> np.ndarray:
    """Decode an image: upright, opaque over black, 8 bits, grey or RGB, and of the size of the graph."""
    with Image.open(path, formats=FORMATS) as image:
        if image.format == "PNG":
            image.verify()  # compares the checksums of its parts, and leaves nothing to decode
    with Image.open(path, formats=FORMATS) as image:
        tags: Any = getattr(image, "tag_v2", {})
        if not 0 < image.width * image.height <= MOST_PIXELS:
            raise ValueError(f"it has {image.width * image.height} pixels, the limit is {MOST_PIXELS}")
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise ValueError("it has several frames or pages")
        if tags.get(SUBFILE, 0) & 1 or DNG in tags:
            raise ValueError("it is a camera's RAW file, or a preview")
        white = white_of(image, tags)
        image.load()
        upright = ImageOps.exif_transpose(image)
        if white is not None:
            upright = eight_bits(upright, white)
        if upright.mode in ("I", "F") or upright.mode.startswith("I;"):
            raise ValueError(f"it has {upright.mode!r} pixels, whose range is unknown")
        if upright.mode in ALPHA or "transparency" in upright.info:
            grey = upright.mode in ("1", "L", "LA", "La")
            rgba = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
            upright = upright.convert("L" if grey else "RGB")
        elif upright.mode not in ("L", "RGB"):
            upright = upright.convert("L" if upright.mode == "1" else "RGB")
        fitted = upright.convert("L" if channels == 1 else "RGB")
        if fitted.size != (width, height):
            fitted = fitted.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(fitted, np.uint8).reshape(1, height, width, channels)


def white_of(image: Image.Image, tags: Any) -> int | None:
    """Return what white is in a file of more than 8 bits; None for others."""
    if image.mode == "I":
        return 65535 if image.format == "PPM" else None
    if image.mode.startswith("I;16"):
        stated = tags.get(WHITE) or (1 << tags.get(BITS, (16,))[0]) - 1
        return int(stated[0] if isinstance(stated, tuple) else stated)
    return 65535 if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) else None


def eight_bits(image: Image.Image, white: int) -> Image.Image:
    """Scale the pixels of a file of more than 8 bits."""
    narrow = not image.mode.startswith("I")  # Pillow has cut colours of 16 bits to 8
    wide = np.asarray(image, np.int64)
    top = int((wide[..., :-1] if image.mode in ALPHA else wide).max()) << (8 if narrow else 0)
    if top > white or (white == 65535 and 0 < top < 4096):
        raise ValueError(f"its brightest pixel is {top}, which does not fit a white of {white}")
    return image if narrow else Image.fromarray(((wide * 255 + white // 2) // white).astype(np.uint8))


def main(arguments: list[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description="Predict the class of images.")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, and folders of images")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # of narrow encodings
    try:
        session, labels = open_model(Path(__file__).resolve().parent, given.threads)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has many kinds too
        parser.error(f"the model cannot be used: {error}")
    classes, done, failed = labels["classes"], 0, 0
    rows: list[dict[str, Any]] = []
    for done, path in enumerate(find_images(given.paths), 1):  # noqa: B007 - it is used below
        try:
            pixels = read_pixels(path, **labels["input"])
        except Exception as error:  # noqa: BLE001 - Pillow raises many kinds for damaged files
            failed += 1
            row: dict[str, Any] = {"path": str(path), "error": str(error) or type(error).__name__}
            shown = f"-  -  {path}: {row['error']}"
        else:
            values = session.run(["probabilities"], {"image": pixels})[0][0]
            named = dict(zip(classes, map(float, values.astype(str).tolist()), strict=True))
            row = {"path": str(path), "label": classes[int(values.argmax())], "probabilities": named}
            shown = f"{row['label']}  {values.max():.3f}  {path}"
        if given.json:
            rows.append(row)
        else:
            print("".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown))
    if not done:
        parser.error("no image was found in " + ", ".join(given.paths))
    if given.json:
        print(json.dumps({"classes": classes, "rows": rows, "failed": failed}, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        os._exit(1)  # whoever reads the output has seen enough
    except KeyboardInterrupt:
        sys.exit(130)
