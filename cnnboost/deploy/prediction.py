"""From image files to what a predictor makes of them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np

from cnnboost.deploy.image_files import ImageFile, decode_files
from cnnboost.deploy.predictor import Predictor


class Prediction(NamedTuple):
    """One image file and its most probable class, or why there is none."""

    path: str
    label: str | None
    probabilities: np.ndarray | None
    error: str | None


def predict_files(
    predictor: Predictor, files: Iterable[ImageFile], *, threads: int | None = None
) -> Generator[Prediction, None, None]:
    """Predict image files of any size and mode; a bad one is named and the rest goes on."""
    classes: list[str] = predictor.classes_.tolist()
    with closing(decode_files(files, predictor.input, threads=threads)) as batches:
        for batch in batches:
            found: Iterator[np.ndarray] = iter(())
            if len(batch.pixels):
                found = iter(predictor.predict_proba(batch.pixels))
            for path, error in zip(batch.paths, batch.errors, strict=True):
                if error is None:
                    row = next(found)
                    yield Prediction(path, classes[row.argmax()], row, None)
                else:
                    yield Prediction(path, None, None, error)
