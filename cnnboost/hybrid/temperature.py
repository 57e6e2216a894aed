"""Temperature: one number that makes a softmax as sure as it is right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Far beyond what a network that learnt anything needs, on both sides.
LOWEST, HIGHEST = 0.05, 20.0
#: Below it a float32 softmax is zero, whose logarithm is not finite; e^-30 is a thousandth of a millionth
#: of a millionth.
_FLOOR = -30.0


def log_probabilities(proba: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the logarithms of probabilities, bounded below by -30."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(np.asarray(proba, dtype=np.float64)), _FLOOR).astype(np.float32)


def fit_temperature(log_proba: NDArray[np.floating], codes: NDArray[np.intp]) -> float:
    """Find the temperature T for which `softmax(log_proba / T)` has the lowest log-loss.

    Above 1 the network was surer than it was right, as networks are that know their training images by heart;
    so the images must be such as it was not trained on. The most probable class stays what it was.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    scores = np.asarray(log_proba, dtype=np.float64)
    rows = np.arange(len(codes))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(scores / np.exp(log_temperature), axis=1)[rows, codes].mean())

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    # The loss is convex in 1/T and so has one lowest point in log T.
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def tempered(log_proba: NDArray[np.floating], temperature: float) -> NDArray[np.float32]:
    """Return `softmax(log_proba / temperature)`."""
    from scipy.special import softmax

    found: NDArray[np.float32] = softmax(log_proba.astype(np.float64) / temperature, axis=1)
    return found.astype(np.float32)
