"""A face of a picture as the classifier wants it: a square of its own, upright."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from cnnboost.faces.face import Face
from cnnboost.images.decode import InputSpec, fit_image

#: Side of the square, as a multiple of the longer side of a face's box. The frames of FER-2013 are 0.96 of
#: what is found in them (median of 257; a half of them 0.89 to 1.04); from 0.9 to 1.4 little changes.
MARGIN = 1.0
#: Degrees beyond which a face is turned upright; nine in ten faces of FER-2013 are tilted less.
UPRIGHT_FROM = 15.0
#: Times the size that a classifier sees: a face that is larger is made smaller before it is turned.
_ENOUGH = 8


def square_of(face: Face, margin: float = MARGIN) -> tuple[float, float, float]:
    """Return the square that a face is cut out by: its centre and its side."""
    side = margin * max(face.width, face.height)
    return face.x + face.width / 2, face.y + face.height / 2, side


def crop_face(
    picture: Image.Image,
    face: Face,
    spec: InputSpec,
    *,
    margin: float = MARGIN,
    upright_from: float = UPRIGHT_FROM,
) -> np.ndarray:
    """Cut a face out, and bring it to a size and channels as every other image.

    Parameters
    ----------
    picture : PIL.Image.Image
        Of mode L or RGB, upright.
    face : Face
        A face of it.
    spec : InputSpec
        What the classifier takes.
    margin : float
        Side of the square around the middle of the face's box, as a multiple of the box's longer side. Beyond
        the picture's edges it is black.
    upright_from : float
        Degrees beyond which the face is turned until its eyes are level.

    Returns
    -------
    ndarray of shape (height, width, channels), dtype uint8
    """
    x, y, side = square_of(face, margin)
    tilt = face.tilt
    if abs(tilt) > upright_from:
        shrink = int(side // (_ENOUGH * max(spec.height, spec.width)))
        if shrink > 1:  # turned at full size, a large face takes a gigabyte
            picture, x, y, side = picture.reduce(shrink), x / shrink, y / shrink, side / shrink
        # No more is turned than what the square can reach into.
        reach = math.ceil(side * math.sqrt(0.5)) + 1
        around = _square(picture, x, y, 2 * reach)
        picture, x, y = around.rotate(tilt, Image.Resampling.BILINEAR), reach, reach
    return fit_image(_square(picture, x, y, side), spec, "a face")


def _square(picture: Image.Image, x: float, y: float, side: float) -> Image.Image:
    whole = max(1, round(side))
    left, top = round(x - whole / 2), round(y - whole / 2)
    return picture.crop((left, top, left + whole, top + whole))
