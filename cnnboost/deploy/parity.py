"""Does a graph give what the model it was made from gives? Nothing is exported before that is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from cnnboost.cnn.graph import is_half
from cnnboost.errors import ModelError

BATCHES = (1, 7, 256)
#: Images that are compared, where there are as many.
IMAGES = 1000
_UNLIKELY = 0.01
"""Fewer images may disagree on more labels than their share, where chance does that more often than so."""


class Limits(NamedTuple):
    """How far a graph may be from its reference."""

    agreement: float
    median: float


EXACT = Limits(agreement=0.999, median=1e-5)
#: For networks in half precision, where the last bit of a feature is a hundredth or a thousandth of it.
HALF = Limits(agreement=0.95, median=0.005)
#: For convolutions in 8-bit integers: another function, but nearly always the same answer.
INT8 = Limits(agreement=0.95, median=0.05)


def limits_of(models: Iterable[Any], *, int8: bool = False) -> Limits:
    """Return how far a graph of some Keras models may be from them."""
    if int8:
        return INT8
    return HALF if any(is_half(model) for model in models) else EXACT


@dataclass(frozen=True)
class Parity:
    """How far a graph is from its reference on some images, in batches of one size."""

    batch: int
    images: int
    agreement: float
    median: float
    largest: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, JSON-able."""
        return asdict(self)


def check_parity(
    content: bytes,
    images: np.ndarray,
    reference: np.ndarray,
    *,
    name: str,
    batches: Sequence[int] = BATCHES,
    views: int = 1,
    limits: Limits = EXACT,
) -> list[Parity]:
    """Run a graph in batches of several sizes and compare it with the reference.

    Trees compare features with thresholds, and two runtimes differ in the last bits of a feature: an image
    can fall on the other side of a split and its probabilities jump. So it is labels and the median that
    must agree, not every single probability.
    """
    found = []
    for batch in dict.fromkeys(min(size, max(size // views, 7)) for size in batches):
        labels, probabilities = _run(content, images, batch, name)
        if probabilities.shape != reference.shape or not np.isfinite(probabilities).all():
            raise ModelError(
                f"{name} gives probabilities of shape {probabilities.shape} where {reference.shape} is "
                "right, or some that are not finite; it was not written"
            )
        difference = np.abs(probabilities.astype(np.float64) - reference)
        found.append(
            Parity(
                batch,
                len(images),
                float((labels == reference.argmax(axis=1)).mean()),
                float(np.median(difference)),
                float(difference.max()),
            )
        )
    for parity in found:
        too_many = parity.agreement < limits.agreement and not _chance(parity, limits)
        if too_many or parity.median >= limits.median:
            raise ModelError(
                f"{name} differs from the model it was made from: in batches of {parity.batch} the labels of "
                f"{parity.agreement:.2%} of {parity.images} images agree ({limits.agreement:.1%} is wanted), "
                f"the median difference of probabilities is {parity.median:.2g} (below {limits.median:g} is "
                f"wanted), the largest {parity.largest:.2g}; it was not written. {_remedy(parity, limits)}"
            )
    return found


def _chance(parity: Parity, limits: Limits) -> bool:
    """Say whether images are too few to tell so many other labels from as many as are allowed.

    Never more of them than a full comparison would allow.
    """
    from scipy.stats import binom

    allowed = 1 - limits.agreement
    others = round((1 - parity.agreement) * parity.images)
    return others <= round(allowed * IMAGES) and binom.sf(others - 1, parity.images, allowed) >= _UNLIKELY


def _remedy(parity: Parity, limits: Limits) -> str:
    if parity.median >= limits.median:
        return (
            "ONNX Runtime computes a layer of the network otherwise than Keras: cut it before that layer, or "
            "run the hybrid in Keras"
        )
    more = (
        f"give more images (there are {parity.images}, {IMAGES} are compared), "
        if parity.images < IMAGES
        else ""
    )
    return (
        f"Probabilities agree, labels jump where features lie on thresholds of the trees: {more}"
        "or fewer rounds (boost.n_estimators)"
    )


def _run(content: bytes, images: np.ndarray, batch: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # The trees' and the CNN's own thread pools are at work in this process too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        parts = [
            session.run(["label", "probabilities"], {"image": images[start : start + batch]})
            for start in range(0, len(images), batch)
        ]
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot run {name}: {str(error).splitlines()[0]}; it was not written"
        ) from error
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
