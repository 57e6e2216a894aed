"""How a model file from elsewhere is fed and read: the scale of its pixels and the order of its outputs.

The file states neither. What its layers and the data's labels say is assumed, and put to the test on a few
labelled images: where its softmax is far better under another assumption, the assumed one is in doubt, and no
verdict on the softmax is worth anything.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnboost.cnn.inputs import SCALES
from cnnboost.cnn.interface import output_kind
from cnnboost.cnn.preprocessing import pixels_of, resolve_pixels
from cnnboost.errors import ModelError
from cnnboost.files import digest_of, file_digest, read_json, write_json
from cnnboost.images import ImageSet
from cnnboost.images.readers.csv import output_orders
from cnnboost.stages.assumptions import Assumption, Trial
from cnnboost.stages.stage import Stage

log = logging.getLogger("cnnboost")

FORMAT = 1


@dataclass(frozen=True)
class Feeding:
    """What a model file is given, and what its outputs are taken for."""

    pixels: str
    classes: tuple[str, ...]
    doubt: str = ""
    stated: bool = False
    ordered: bool = True

    def warn(self) -> None:
        """Tell of a doubt that nothing was refused for so far."""
        if self.doubt and not self.stated:
            log.warning("%s", self.doubt)

    def require(self) -> None:
        """Refuse a verdict on a softmax that is fed or read wrongly, unless just so was asked for."""
        if self.doubt and not self.stated:
            raise ModelError(self.doubt)


def find_feeding(
    model: Any,
    path: Path,
    images: ImageSet,
    pixels: str | None,
    classes: Sequence[str] | None,
    record: Path,
) -> Feeding:
    """Settle how a model file is fed and read."""
    trials = Trials(model, path, images, pixels, None if classes is None else tuple(classes), record)
    how = "as asked" if pixels else "as its first layers say" if pixels_of(model) else "assumed; see --pixels"
    log.info("%s takes pixels %s: %s (%s)", path, trials.scale, SCALES[trials.scale], how)
    found = trials.run()
    log.info("its outputs are taken to be, in this order: %s", ", ".join(found.classes))
    if found.stated:
        log.warning("%s", found.doubt)
    return found


class Trials(Stage[Feeding]):
    """What trying a model file on a few labelled images told, kept in `given.json`."""

    def __init__(
        self,
        model: Any,
        model_path: Path,
        images: ImageSet,
        pixels: str | None,
        classes: tuple[str, ...] | None,
        record: Path,
    ) -> None:
        self.model, self.model_path, self.images, self.path = model, model_path, images, record
        self.scale = resolve_pixels(model, pixels, str(model_path))
        if classes is not None:
            images.with_classes(classes)
        self.orders = [classes] if classes is not None else output_orders(images)
        self.asked = {"--pixels": pixels, "--classes": classes}

    def inputs(self) -> dict[str, Any]:
        """Return the model, the images, what was asked for and what is assumed."""
        return {
            "format": FORMAT,
            "model": file_digest(self.model_path),
            "path": str(self.model_path),
            "images": [self.images.digest, self.images.classes, self.images.y.tolist()],
            "asked": list(self.asked.values()),
            "assumed": [self.scale, self.orders],
        }

    @cached_property
    def stored(self) -> dict[str, Any]:
        """What the record holds."""
        return read_json(self.path) or {}

    def recorded(self) -> str | None:
        """Return the digest in the record, if nothing in it was altered."""
        key = self.stored.get("key")
        intact = self.stored.get("checksum") == digest_of([key, self.stored.get("feeding")])
        return key if intact else None

    def load(self) -> Feeding:
        """Return what is recorded."""
        metadata = self.stored["feeding"]
        return Feeding(**{**metadata, "classes": tuple(metadata["classes"])})

    def build(self) -> Feeding:
        """Try."""
        found = self._try()
        key, metadata = self.made_from, asdict(found)
        write_json(self.path, {"key": key, "feeding": metadata, "checksum": digest_of([key, metadata])})
        return found

    def _try(self) -> Feeding:
        model, path, images, scale, orders = self.model, self.model_path, self.images, self.scale, self.orders
        ordered = self.asked["--classes"] is not None
        feeding = Feeding(scale, orders[0])
        try:
            kind = output_kind(model, str(path))
        except ModelError:  # it has no softmax to be read wrongly
            return feeding
        if len(images.classes) != (2 if kind == "sigmoid" else model.output_shape[-1]):
            return feeding
        trial = Trial(model, kind, images)
        numbered = all(name.isdecimal() for name in images.classes)
        if numbered and len(orders) > 1 and not ordered:
            ranked = sorted(orders, key=lambda order: -trial.accuracy(Assumption(scale, order)))
            best, second = (Assumption(scale, order) for order in ranked[:2])
            feeding = replace(feeding, classes=best.classes, ordered=trial.far_better(best, second))
            if feeding.ordered:
                log.info(
                    "the order of its outputs is found by their accuracy: %s", trial.told([best, second])
                )
        mine = Assumption(scale, feeding.classes)
        others = [
            Assumption(other, order)
            for order in dict.fromkeys([mine.classes, *(output_orders(images) if ordered else orders)])
            for other in (scale, *trial.scales)
        ]
        better = trial.best(mine, [other for other in dict.fromkeys(others) if other != mine])
        if better is not None:
            named = [("--pixels", better.pixels)] if better.pixels != mine.pixels else []
            named += [("--classes", ",".join(better.classes))] if better.classes != mine.classes else []
            stated = all(self.asked[option] is not None for option, _ in named)
            remedy = " ".join(f"{option} {value}" for option, value in named)
            doubt = (
                f"{path}: its softmax is right on {trial.told([mine, better])}. No verdict is given, as "
                f"{'what was asked for' if stated else 'the first assumption'} looks wrong; state the better "
                f"one: {remedy}"
            )
            if any("," in name for name in better.classes) and better.classes != mine.classes:
                doubt += " (in a file, one name per line)"
            return replace(feeding, doubt=doubt, stated=stated, ordered=True)
        if not feeding.ordered:
            doubt = (
                f"{path}: its outputs may be in the order of the classes' names or in that of their numbers, "
                f"and accuracy does not tell: {trial.told([Assumption(scale, order) for order in orders])}. "
                f"State the order: --classes {','.join(orders[0])}, or --classes {','.join(orders[1])}"
            )
            return replace(feeding, doubt=doubt)
        return feeding
