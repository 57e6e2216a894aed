"""Clips and photographs that are made on the spot: a face that moves over a background."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image


def astronaut() -> Image.Image:
    """The portrait that comes with scikit-image: 512 x 512, one face, smiling."""
    import skimage

    return Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")


def background(size=(480, 320)) -> Image.Image:
    """A calm picture without a face."""
    down, across = np.mgrid[: size[1], : size[0]]
    shades = (80 + 40 * np.sin(across / 70) + 30 * np.cos(down / 50)).astype(np.uint8)
    return Image.fromarray(np.stack([shades, shades // 2 + 60, 200 - shades], axis=2))


def moving(count=12, size=(480, 320)) -> list[Image.Image]:
    """A portrait that goes from left to right."""
    portrait = astronaut().crop((128, 0, 320, 256)).resize((180, 240))
    frames = []
    for number in range(count):
        frame = background(size)
        frame.paste(portrait, (10 + (size[0] - 200) * number // max(1, count - 1), 40))
        frames.append(frame)
    return frames


def write_clip(
    path, frames, times=None, *, rate=25, rotation=0, sound=False, codec="libx264", options=None
) -> Path:
    """Write a clip; `times` are in milliseconds."""
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate) if frames else None
        if stream is not None:
            stream.width, stream.height = frames[0].size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.codec_context.gop_size = 4
            if rotation:
                stream.set_display_rotation(rotation)
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_image(picture)
            frame.pts = times[number] if times else 1000 * number // rate
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, 0
            container.mux(audio.encode(silence))
            container.mux(audio.encode(None))
    return Path(path)
