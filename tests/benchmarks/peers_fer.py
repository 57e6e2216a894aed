"""The `fer` package in a process of its own: the half of `peers.py` that runs in `fer`'s environment.

Not a test, and not run by hand: `peers.py` starts it with the interpreter that has `fer`, and sends one
JSON document a line; each is answered by one. Images come as a file: uint8 (n, height, width, 1), grey, each
of them a whole face, so that the face's rectangle is the image.

The probabilities are those that the package's own classifier gives behind its own steps, before its answer
is rounded to hundredths: the package is run as it is, and what passes is noted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

#: Images in one call of the network by Keras.
BATCH = 256
#: Images of which the slowest way, the Keras network image by image, is timed.
FEW = 100
#: Pixels by which the package widens a face's rectangle: none, for images that are cut as tightly as those of
#: FER-2013; and its own default, which puts a border of one grey around such an image.
TIGHT, WIDENED = 0, 10

WAYS: dict[str, dict[str, Any]] = {
    "api-tflite": {
        "what": "fer.FER(offsets=(0, 0)).detect_emotions, image by image (TFLite network, the default)",
        "offset": TIGHT, "tflite": True, "batches": False,
    },
    "api-tflite-widened": {
        "what": "fer.FER().detect_emotions, image by image, all defaults: the rectangle widened by 10 pixels",
        "offset": WIDENED, "tflite": True, "batches": False,
    },
    "api-keras": {
        "what": "fer.FER(use_tflite=False, offsets=(0, 0)).detect_emotions, image by image",
        "offset": TIGHT, "tflite": False, "batches": False,
    },
    "keras-batches": {
        "what": f"fer's preprocessing, then its Keras network by keras.Model.predict in batches of {BATCH}",
        "offset": TIGHT, "tflite": False, "batches": True,
    },
}  # fmt: skip


def package() -> tuple[Any, Path]:
    """Import the package; return its class and its folder."""
    warnings.filterwarnings("ignore")
    from fer import fer

    logging.disable(logging.WARNING)
    return fer.FER, Path(fer.__file__).parent


class Peer:
    """The package, ready to be asked in every way."""

    def __init__(self, images: np.ndarray) -> None:
        self.kind, self.folder = package()
        noted = self.noted = []
        seen = self.seen = []

        class Noting(self.kind):
            def _classify_emotions(self, faces: np.ndarray) -> np.ndarray:
                found = super()._classify_emotions(faces)
                seen.append(faces)
                noted.append(np.asarray(found))
                return found

        self.noting = Noting
        # What `cv2.imread` would give, which is what the package expects: blue, green and red.
        self.images = [np.repeat(image, 3, axis=2) for image in images]
        self.rectangle = [(0, 0, images.shape[2], images.shape[1])]
        self.detectors = {
            name: self.kind(use_tflite=way["tflite"], offsets=(way["offset"],) * 2)
            for name, way in WAYS.items()
        }
        self.network = self.kind._model_cache

    def labels(self) -> list[str]:
        """Return the package's classes in the order of its network's outputs."""
        names = self.kind._get_labels()
        return [names[i] for i in range(len(names))]

    def preprocessed(self, images: list[np.ndarray], offset: int) -> np.ndarray:
        """Do to whole faces what `detect_emotions` does before it asks the network, many at a time."""
        import cv2

        edge = 40 - offset  # the package pads by 40 pixels
        size = tuple(self.network.input_shape[1:3])
        faces = []
        for image in images:
            padded = self.kind.pad(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
            faces.append(cv2.resize(padded[edge : len(padded) - edge, edge : padded.shape[1] - edge], size))
        pixels = np.array(faces, dtype="float32") / 255.0
        return (pixels - 0.5) * 2.0

    def in_batches(self, images: list[np.ndarray], offset: int) -> np.ndarray:
        faces = self.preprocessed(images, offset)
        return self.network.predict(faces[..., None], batch_size=BATCH, verbose=0)

    def by_image(self, name: str, images: list[np.ndarray], *, noted: bool = False) -> list[Any]:
        detector = self.detectors[name]
        if noted:
            way = WAYS[name]
            detector = self.noting(use_tflite=way["tflite"], offsets=(way["offset"],) * 2)
        return [detector.detect_emotions(image, face_rectangles=self.rectangle) for image in images]

    def probabilities(self, name: str) -> tuple[np.ndarray, float]:
        """Return what one way says of all images, and the share whose rounded answer names the same class."""
        way = WAYS[name]
        if way["batches"]:
            return self.in_batches(self.images, way["offset"]), 1.0
        images = self.images if way["tflite"] else self.images[:FEW]
        self.noted.clear()
        answers = self.by_image(name, images, noted=True)
        found = np.concatenate(self.noted)
        labels = self.labels()
        best = [labels.index(max(faces[0]["emotions"], key=faces[0]["emotions"].get)) for faces in answers]
        if not way["tflite"]:
            # The same network on the same pixels: all images one by one would take minutes.
            every = self.in_batches(self.images, way["offset"])
            if not np.allclose(found, every[:FEW], atol=1e-4):
                raise SystemExit("the network says something else image by image than in batches")
            return every, float(np.mean(best == found.argmax(axis=1)))
        return found, float(np.mean(best == found.argmax(axis=1)))

    def check_preprocessing(self) -> None:
        """Refuse to go on where our batches would not see what the package itself sees."""
        for name in ("api-tflite", "api-tflite-widened"):
            self.seen.clear()
            self.by_image(name, self.images[:FEW], noted=True)
            offset = WAYS[name]["offset"]
            if not np.array_equal(np.concatenate(self.seen), self.preprocessed(self.images[:FEW], offset)):
                raise SystemExit(f"this version of fer preprocesses in another way (offset {offset})")

    def metadata(self) -> dict[str, Any]:
        files = {name: self.folder / "data" / name for name in _FILES}
        versions = {}
        for name in (
            "fer",
            "tensorflow",
            "keras",
            "numpy",
            "opencv-python-headless",
            "opencv-contrib-python",
        ):
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return {
            "parameters": int(self.network.count_params()),
            "input": [int(side) for side in self.network.input_shape[1:]],
            "bytes": {name: path.stat().st_size for name, path in files.items()},
            "classes": self.labels(),
            "versions": versions,
        }

    def time(self, name: str, batch: str, seconds: float, most: int) -> dict[str, Any]:
        """Time calls of one way, on the clock that the other side uses."""
        from cnnboost.timing.clock import rest, time_calls

        way, images = WAYS[name], self.images
        if batch == "one":
            # Not the same image again and again.
            many = len(images)

            def call(i: int) -> Any:
                image = images[i % many : i % many + 1]
                return self.in_batches(image, way["offset"]) if way["batches"] else self.by_image(name, image)

        else:
            images = images if way["tflite"] or way["batches"] else images[:FEW]

            def call(i: int) -> Any:
                return (
                    self.in_batches(images, way["offset"]) if way["batches"] else self.by_image(name, images)
                )

        block = time_calls(call, seconds, most)
        rest()
        return {"seconds": block.seconds, "images": 1 if batch == "one" else len(images)}


_FILES = ("emotion_model_quantized.tflite", "emotion_model.hdf5")


def set_threads(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def start(images: np.ndarray) -> None:
    """Get ready as a program would that uses the package as it is, and judge one image."""
    kind, _ = package()
    image = np.repeat(images[0], 3, axis=2)
    kind(offsets=(TIGHT, TIGHT)).detect_emotions(
        image, face_rectangles=[(0, 0, image.shape[1], image.shape[0])]
    )


def serve(images: np.ndarray, threads: int, answer: Any) -> None:
    set_threads(threads)
    peer = Peer(images)
    peer.check_preprocessing()
    answer(peer.metadata() | {"ways": {name: way["what"] for name, way in WAYS.items()}})
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "judge":
            proba, same = peer.probabilities(asked["way"])
            np.save(asked["to"], proba)
            answer({"rounded_same": same})
        else:
            answer(peer.time(asked["way"], asked["batch"], asked["seconds"], asked["most"]))


def main() -> None:
    """Answer until the other side closes."""
    task, path, threads = sys.argv[1:4]
    # Libraries write to stdout as well; only answers may go there.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(document: dict[str, Any]) -> None:
        replies.write(json.dumps(document) + "\n")
        replies.flush()

    images = np.load(path)
    if task == "start":
        start(images)
        answer({"ready": True})
    else:
        serve(images, int(threads), answer)


if __name__ == "__main__":
    main()
