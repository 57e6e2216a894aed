"""Features to probabilities: XGBoost `multi:softprob` as a scikit-learn classifier."""

from cnnboost.boost.classifier import BoostClassifier
from cnnboost.boost.params import resolve_device

__all__ = ["BoostClassifier", "resolve_device"]
