"""Compare a graph with the model that it was made from: no graph is written before they agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from cnnboost.cnn.graph import is_half
from cnnboost.deploy.graph_builder import IMAGE, LABEL, PROBABILITIES
from cnnboost.errors import ModelError
from cnnboost.files import reason_of

BATCHES = (1, 7, 256)
#: Images that are compared, where there are as many.
IMAGES = 1000
#: Where few images are compared, more labels may differ than allowed, if chance does that more often than so.
_UNLIKELY = 0.01


class Limits(NamedTuple):
    """How far a graph may be from its reference."""

    agreement: float
    median: float


EXACT = Limits(agreement=0.999, median=1e-5)
#: For networks in half precision, where the last bit of a feature is a hundredth or a thousandth of it.
HALF = Limits(agreement=0.95, median=0.005)
#: For convolutions in 8-bit integers: another function, but nearly always the same answer.
INT8 = Limits(agreement=0.95, median=0.05)


class Parity(NamedTuple):
    """How far a graph is from its reference on some images, in batches of one size."""

    batch: int
    images: int
    agreement: float
    median: float
    largest: float


def limits_of(models: Iterable[Any], *, int8: bool = False) -> Limits:
    """Return how far a graph of some Keras models may be from them."""
    if int8:
        return INT8
    return HALF if any(is_half(model) for model in models) else EXACT


def check_parity(
    content: bytes,
    images: np.ndarray,
    reference: np.ndarray,
    *,
    name: str,
    views: int = 1,
    limits: Limits = EXACT,
) -> list[Parity]:
    """Run a graph in batches of several sizes and compare it with the reference.

    Trees compare features with thresholds, and two runtimes differ in the last bits of a feature: an image
    can fall on the other side of a split and its probabilities jump. So labels and the median must agree,
    not every single probability.
    """
    sizes = dict.fromkeys(min(size, max(size // views, 7)) for size in BATCHES)
    results = [_compared(content, images, reference, size, name) for size in sizes]
    for parity in results:
        if parity.median >= limits.median:
            remedy = (
                "ONNX Runtime computes a layer of the network differently from Keras: cut it before that "
                "layer, or run the hybrid in Keras"
            )
        elif parity.agreement < limits.agreement and not _by_chance(parity, limits):
            more = f"give more images ({parity.images} given, {IMAGES} are compared), or "
            remedy = (
                "Probabilities agree, labels differ where features lie on thresholds of the trees: "
                f"{more if parity.images < IMAGES else ''}use fewer rounds (boost.n_estimators)"
            )
        else:
            continue
        raise ModelError(
            f"{name} differs from the model it was made from: in batches of {parity.batch} the labels of "
            f"{parity.agreement:.2%} of {parity.images} images agree (at least {limits.agreement:.1%} "
            f"required), the median difference of probabilities is {parity.median:.2g} (below "
            f"{limits.median:g} required), the largest {parity.largest:.2g}; it was not written. {remedy}"
        )
    return results


def _by_chance(parity: Parity, limits: Limits) -> bool:
    """Tell whether there are too few images to see that too many labels differ.

    Never more of them than a full comparison would allow.
    """
    from scipy.stats import binom

    allowed = 1 - limits.agreement
    others = round((1 - parity.agreement) * parity.images)
    return others <= round(allowed * IMAGES) and binom.sf(others - 1, parity.images, allowed) >= _UNLIKELY


def _compared(content: bytes, images: np.ndarray, reference: np.ndarray, batch: int, name: str) -> Parity:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # The thread pools of the trees and of the CNN are active in this process too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        parts = [
            session.run([LABEL, PROBABILITIES], {IMAGE: images[start : start + batch]})
            for start in range(0, len(images), batch)
        ]
    except Exception as error:
        raise ModelError(f"ONNX Runtime cannot run {name}: {reason_of(error)}; it was not written") from error
    labels, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    if probabilities.shape != reference.shape or not np.isfinite(probabilities).all():
        raise ModelError(
            f"{name} gives probabilities of shape {probabilities.shape} instead of {reference.shape}, or "
            "some that are not finite; it was not written"
        )
    difference = np.abs(probabilities.astype(np.float64) - reference)
    agreement = float((labels == reference.argmax(axis=1)).mean())
    return Parity(batch, len(images), agreement, float(np.median(difference)), float(difference.max()))
