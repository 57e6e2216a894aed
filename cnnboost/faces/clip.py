"""A clip as a stream of upright pictures with their times, and a clip that is written from pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from PIL import Image

from cnnboost.errors import DataError, ParameterError, StoreError
from cnnboost.files import open_regular, reason_of
from cnnboost.images.decode import MAX_PIXELS

#: Names that are taken for clips.
SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".3gp", ".wmv", ".flv", ".ogv")
)
#: Formats that can be written, each with its codecs, the better first.
WRITTEN = {".mp4": ("libx264", "mpeg4"), ".mov": ("libx264", "mpeg4"), ".mkv": ("libx264", "mpeg4")}
#: Seconds that may be missing at the end before a clip is called damaged: audio may last longer.
_MISSING = 0.5
#: Frames that may be missing: an edit list may leave some out.
_SPARE = 2
_RATE = Fraction(25)
_FORMATS = "mov,matroska,avi,mpeg,mpegvideo,mpegts,flv,asf,ogg"


class Frame(NamedTuple):
    """One picture of a clip: its number, when it is shown in seconds, and its pixels."""

    number: int
    time: float
    picture: Image.Image


def is_clip(path: str) -> bool:
    """Tell by its name whether a file is a clip."""
    return path[path.rfind(".") :].lower() in SUFFIXES


class Clip:
    """A clip that is read frame by frame.

    Parameters
    ----------
    path : str
        A regular file; whatever is in it, no other file is opened.

    Attributes
    ----------
    frames : int or None
        How many there should be, where the file says so.
    rate : Fraction
        Frames a second on average; frames may come at uneven times.
    damage : str or None
        After the last frame: what could not be read.

    Raises
    ------
    DataError
        If the file cannot be read as a clip, or holds no pictures.
    ParameterError
        If PyAV is not installed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.damage: str | None = None
        self._av = _av()
        try:
            with ExitStack() as stack:
                file = stack.enter_context(_opened(path))
                self._container = stack.enter_context(self._open(file))
                self._stack = stack.pop_all()
        except self._av.error.FFmpegError as error:
            raise DataError(
                f"{path} cannot be read as a video, or is damaged at its beginning ({reason_of(error)})"
            ) from error
        if not self._container.streams.video:
            self.close()
            raise DataError(f"{path}: holds no pictures, only sound or text; give a clip with a video stream")
        self._stream: Any = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or _RATE)
        self.time_base: Fraction = self._stream.time_base
        self._seconds = self._length()
        self.frames = self._stream.frames or (round(self._seconds * self.rate) if self._seconds else None)

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; damaged ones are left out, and `damage` says so at the end."""
        number, start, time, lost, reason = 0, None, 0.0, 0, None
        for frame, error in self._decoded():
            if frame is None:
                lost += 1
                reason = error
                continue
            shown = frame.pts * frame.time_base if frame.pts is not None else number / self.rate
            start = shown if start is None else start
            time = float(shown - start)
            yield Frame(number, time, _upright(frame, self.path))
            number += 1
        if lost:
            self.damage = f"{lost} part{'s' if lost > 1 else ''} could not be decoded ({reason})"
        elif not number:
            self.damage = "it holds no frame"
        elif self._stream.frames and number < self._stream.frames - _SPARE:
            self.damage = f"it ends after {number} frames, and says that it has {self._stream.frames}"
        elif self._seconds and self._seconds - time - float(1 / self.rate) > _MISSING:
            self.damage = f"it ends after {time:.2f} s, and says that it lasts {self._seconds:.2f} s"

    def _open(self, file: Any) -> Any:
        # Playlists, which name other files, are of formats that are not in the list.
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
        return self._av.open(file, "r", metadata_errors="replace", options=options)

    def _decoded(self) -> Iterator[tuple[Any, str | None]]:
        """Yield each frame, or the reason why some could not be decoded."""
        errors = self._av.error.FFmpegError
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except errors as error:
                yield None, reason_of(error)
                return
            try:
                frames = packet.decode()
            except self._av.error.EOFError:
                return
            except errors as error:
                yield None, reason_of(error)
                continue
            for frame in frames:
                yield frame, None

    def _length(self) -> float | None:
        if self._stream.duration:
            return float(self._stream.duration * self.time_base)
        return self._container.duration / self._av.time_base if self._container.duration else None


class ClipWriter:
    """A clip that is written frame by frame; frames come at the times of another clip's. It has no sound.

    Parameters
    ----------
    path : Path
        Its name ends with one of `WRITTEN`.
    clip : Clip
        What says at which times frames may come.
    """

    def __init__(self, path: Path, clip: Clip) -> None:
        self._path = path
        self._av = _av()
        self._clip = clip
        self._container = self._av.open(str(path), "w")
        self._stream: Any = None
        self._last = -1

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._stream is not None:
                self._mux(None)
        finally:
            self._container.close()

    def write(self, picture: Image.Image, time: float) -> None:
        """Add a frame; all have the size of the first, and each comes after the one before."""
        if self._stream is None:
            self._begin(picture)
        size = (self._stream.width, self._stream.height)
        # Odd sizes cannot be encoded: a row or a column is left out.
        shown = picture.crop((0, 0, *size)) if _even(picture.size) == size else picture.resize(size)
        frame = self._av.VideoFrame.from_image(shown)
        frame.time_base = self._clip.time_base
        frame.pts = self._last = max(self._last + 1, round(time / self._clip.time_base))
        self._mux(frame)

    def _begin(self, picture: Image.Image) -> None:
        for codec in WRITTEN[self._path.suffix.lower()]:
            try:
                self._stream = self._container.add_stream(codec, rate=self._clip.rate)
                break
            except self._av.codec.codec.UnknownCodecError:
                continue
        else:
            raise ParameterError(
                f"{self._path}: this PyAV encodes no {self._path.suffix}; name another format"
            )
        self._stream.width, self._stream.height = _even(picture.size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self._clip.time_base

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._av.error.FFmpegError as error:
            raise StoreError(f"{self._path} cannot be encoded: {reason_of(error)}") from error


def _even(size: tuple[int, int]) -> tuple[int, int]:
    return max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)


def _upright(frame: Any, path: str) -> Image.Image:
    """Return the pixels of a frame as they are meant to be seen."""
    if frame.width * frame.height > MAX_PIXELS:
        raise DataError(
            f"{path}: has frames of {frame.height} x {frame.width} pixels; the limit is {MAX_PIXELS}"
        )
    picture = frame.to_image()
    turned = round(getattr(frame, "rotation", 0) / 90) % 4
    return picture.transpose(_TURNS[turned]) if turned else picture


_TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}


def _opened(path: str) -> Any:
    try:
        return open_regular(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise ParameterError("a clip is read with PyAV: pip install 'cnnboost[video]'") from error
    av.logging.set_level(None)
    return av
