"""From a picture to its faces, and from a picture file to what a classifier of faces should see of it."""

from __future__ import annotations

import logging
import threading
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnnboost.faces.crop import crop_face, square_of
from cnnboost.faces.detector import can_find_faces, detector
from cnnboost.faces.face import Face
from cnnboost.images.decode import InputSpec, fit_image, open_image
from cnnboost.images.pictures import as_picture

log = logging.getLogger("cnnboost")

#: A picture of up to so many times the classifier's own height and width is taken for a crop.
CROP_SIZE = 2
#: So is one whose only face is cut out by a square of at least this share of its area.
CROP_SHARE = 0.5
#: And so is a square one of up to so many times that size in which no face is found: of the faces of
#: FER-2013, which are cut tightly, the detector finds four in five.
SQUARE_SIZE, SQUARE_SIDES = 6, 1.1
_LOOKING = (
    "%s is larger than a cropped face: looking for the faces in such pictures (--whole takes each as it is)"
)
_NOT_LOOKING = (
    "%s is larger than a cropped face, and is taken as a whole: no detector of faces is installed "
    "(pip install 'cnnboost[faces]')"
)


class Found(NamedTuple):
    """What a classifier sees of a picture: a face of it, or, without a face, all of it."""

    face: Face | None
    pixels: np.ndarray


def find_faces(image: Any) -> list[Face]:
    """Find the faces in a picture.

    Parameters
    ----------
    image : path-like, bytes-like, PIL.Image.Image, or ndarray
        A file, the content of one, an image, or uint8 pixels (height, width) or (height, width, 1 or 3), grey
        or RGB. The EXIF orientation is applied: boxes are those of the upright picture.

    Returns
    -------
    list of Face
        The most certain first; no more than `cnnboost.faces.detector.MOST`.

    Raises
    ------
    DataError
        If the picture cannot be read.
    ParameterError
        If what finds faces is not installed.

    Examples
    --------
    >>> from PIL import Image
    >>> find_faces(Image.new("RGB", (640, 480), "green"))
    []
    """
    return detector().find(as_picture(image))


class Finder:
    """What a classifier of faces should see of picture files.

    Of a photograph that is each face. A picture that is cut out already is taken as it is: one that is at
    most `CROP_SIZE` times as high and as wide as the classifier's images; one whose only face fills it, so
    that the square around it has at least `CROP_SHARE` of its area; and a square one of at most `SQUARE_SIZE`
    times that size in which no face is found. Where no detector is installed, all are taken as they are,
    unless faces are to be looked for in any case.

    Parameters
    ----------
    spec : InputSpec
        What the classifier takes.
    always : bool
        Look for faces in crops as well.
    """

    def __init__(self, spec: InputSpec, *, always: bool = False) -> None:
        self.spec, self.always = spec, always
        self._can = always or can_find_faces()
        self._told = threading.Event()

    def look(self, data: bytes, place: str) -> list[Found]:
        """Return what to classify of the content of a picture file; nothing where no face was found."""
        picture = open_image(data, place)
        if self.always:
            return self._cut_out(picture, detector().find(picture))
        if not self._fits(picture, CROP_SIZE):
            if self._can:
                faces = detector().find(picture)
                if not self._is_crop(picture, faces):
                    self._tell(logging.INFO, _LOOKING, place)
                    return self._cut_out(picture, faces)
            else:
                self._tell(logging.WARNING, _NOT_LOOKING, place)
        return [Found(None, fit_image(picture, self.spec, place))]

    def _cut_out(self, picture: Image.Image, faces: list[Face]) -> list[Found]:
        return [Found(face, crop_face(picture, face, self.spec)) for face in faces]

    def _fits(self, picture: Image.Image, times: int) -> bool:
        return picture.height <= times * self.spec.height and picture.width <= times * self.spec.width

    def _is_crop(self, picture: Image.Image, faces: list[Face]) -> bool:
        """Tell whether one face fills a picture, or may do so without being found."""
        if not faces:
            sides = max(picture.size) / min(picture.size)
            return sides <= SQUARE_SIDES and self._fits(picture, SQUARE_SIZE)
        return len(faces) == 1 and square_of(faces[0])[2] ** 2 >= CROP_SHARE * picture.width * picture.height

    def _tell(self, level: int, message: str, place: str) -> None:
        """Say once what is done with pictures that are not crops."""
        if not self._told.is_set():
            self._told.set()
            log.log(level, message, place)
