"""Calibration of a softmax: one temperature, or two numbers for each class.

A temperature makes a softmax as sure as it is right, and changes no prediction; vector scaling may.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

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


class VectorScaling(ClassifierMixin, BaseEstimator):
    """A factor and an offset for the log-probability of each class (Guo et al. 2017, section 4.2).

    Where a network is hardly ever wrong, the factors would grow without end; the penalty holds them near 1.

    Parameters
    ----------
    penalty : float, default=0.0
        Half of it times the squared distance of factors from 1 and offsets from 0 is added to the mean
        log-loss.

    Attributes
    ----------
    classes_ : ndarray of int, shape (n_classes,)
        The columns of X: a class without rows has its column too.
    factors_, offsets_ : ndarray of float64, shape (n_classes,)
    """

    def __init__(self, penalty: float = 0.0) -> None:
        self.penalty = penalty

    def fit(self, X: NDArray[np.floating], y: NDArray[np.intp]) -> VectorScaling:
        """Find the factors and offsets of the lowest log-loss, which is convex in them.

        X holds log-probabilities (n_samples, n_classes), y the number of each row's column.
        """
        from scipy.optimize import minimize
        from scipy.special import log_softmax

        codes, scores, rows = np.asarray(y), np.asarray(X, dtype=np.float64), np.arange(len(X))
        self.classes_ = np.arange(scores.shape[1])
        n_classes = scores.shape[1]
        start = np.repeat([1.0, 0.0], n_classes)
        given = np.zeros_like(scores)
        given[rows, codes] = 1

        def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logs = log_softmax(scores * parameters[:n_classes] + parameters[n_classes:], axis=1)
            slope = (np.exp(logs) - given) / len(rows)
            gone = parameters - start
            gradient = np.concatenate([(slope * scores).sum(axis=0), slope.sum(axis=0)])
            value = -logs[rows, codes].mean() + self.penalty / 2 * gone @ gone
            return value, gradient + self.penalty * gone

        self.factors_, self.offsets_ = np.split(minimize(loss, start, jac=True, method="L-BFGS-B").x, 2)
        return self

    def predict_proba(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the probability of each class, shape (n_samples, n_classes)."""
        from scipy.special import softmax

        proba: NDArray[np.float64] = softmax(np.asarray(X) * self.factors_ + self.offsets_, axis=1)
        return proba
