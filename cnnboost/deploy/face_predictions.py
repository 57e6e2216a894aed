"""Faces of a photograph or of a clip, and what a classifier says of each."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnnboost.faces.clip import Clip, Frame
from cnnboost.faces.crop import crop_face
from cnnboost.faces.detector import detector
from cnnboost.faces.face import Face
from cnnboost.faces.tracks import Tracker
from cnnboost.images.pictures import as_picture
from cnnboost.images.pool import work_ahead

if TYPE_CHECKING:
    from cnnboost.deploy.predictor import Predictor

#: Of tracks, in turn; each can be told from the others by the colour-blind.
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00")


class FacePrediction(NamedTuple):
    """One face of a picture, its class as `Predictor.predict` gives it, and the probability of each class."""

    face: Face
    label: Any
    probabilities: np.ndarray


def predict_faces(predictor: Predictor, image: Any) -> list[FacePrediction]:
    """Find the faces in a picture and classify each; see `Predictor.faces`."""
    picture = as_picture(image)
    faces = detector(predictor.threads).find(picture)
    if not faces:
        return []
    rows = predictor.predict_proba(np.stack([crop_face(picture, face, predictor.input) for face in faces]))
    labels = predictor.classes_[rows.argmax(axis=1)].tolist()
    return [FacePrediction(*one) for one in zip(faces, labels, rows, strict=True)]


class Seen(NamedTuple):
    """One face of one frame; `smoothed` takes what was seen of it before into account."""

    frame: int
    time: float
    track: int
    face: Face
    probabilities: np.ndarray
    smoothed: np.ndarray


def predict_frames(
    predictor: Predictor, clip: Clip, tracker: Tracker, *, threads: int | None = None
) -> Generator[tuple[Frame, list[Seen]], None, None]:
    """Yield the frames of a clip in order, each with its faces, the most certain first.

    Parameters
    ----------
    predictor : Predictor
    clip : Clip
    tracker : Tracker
        A new one: it follows the faces of this clip.
    threads : int, optional
        Frames that are looked at side by side; None is one for each core.

    Yields
    ------
    tuple of Frame and list of Seen
    """
    find = detector()

    def look(frames: list[Frame], stop: threading.Event) -> tuple[Frame, list[Face], np.ndarray]:
        (frame,) = frames
        faces = [] if stop.is_set() else find.find(frame.picture)
        if not faces:
            return frame, faces, np.empty((0, len(predictor.classes_)), np.float32)
        crops = [crop_face(frame.picture, face, predictor.input) for face in faces]
        return frame, faces, predictor.predict_proba(np.stack(crops))

    with closing(work_ahead(clip, look, 1, threads)) as looked:
        for frame, faces, rows in looked:
            tracks = tracker.follow(faces, rows, frame.time)
            seen = zip(faces, rows, tracks, strict=True)
            yield (
                frame,
                [Seen(frame.number, frame.time, t.number, face, row, t.smoothed) for face, row, t in seen],
            )


def annotate(picture: Image.Image, seen: Sequence[Seen], classes: Sequence[str]) -> Image.Image:
    """Draw boxes and labels over a picture."""
    draw = ImageDraw.Draw(picture)
    for one in seen:
        x, y, width, height = one.face[:4]
        colour = _COLOURS[one.track % len(_COLOURS)]
        line = max(2, round(width / 50))
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=line)
        best = int(one.smoothed.argmax())
        text = f"{one.track} {classes[best]} {one.smoothed[best]:.2f}"
        font = ImageFont.load_default(max(10, min(40, width / 6)))
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        above = max(0, y - (bottom - top) - 2 * line)
        draw.rectangle((x, above, x + right - left + 2 * line, above + bottom - top + 2 * line), fill=colour)
        draw.text((x + line - left, above + line - top), text, fill="black", font=font)
    return picture
