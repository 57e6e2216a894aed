"""Faces of a photograph, and what a classifier says of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnnboost.faces.crop import crop_face
from cnnboost.faces.detector import detector
from cnnboost.faces.face import Face
from cnnboost.images.pictures import as_picture

if TYPE_CHECKING:
    from cnnboost.deploy.predictor import Predictor


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
