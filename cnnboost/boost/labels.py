"""Labels of any kind, and the class numbers and weights that XGBoost wants in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from cnnboost.errors import DataError, ParameterError


def read_labels(y: NDArray[Any]) -> NDArray[Any]:
    """Check that `y` holds class labels."""
    if y.dtype == object and None in y.tolist():
        row = y.tolist().index(None)
        raise DataError(f"y has no label at row {row} (None); label that row or leave it out")
    if y.dtype == object and len({type(label) for label in y.tolist()}) == 1:
        # scikit-learn takes no numbers in an array of objects, which is what pandas often makes of them.
        plain = np.array(y.tolist())
        if plain.dtype.kind in "biuf":
            y = plain
    check_classification_targets(y)
    return y


def find_classes(y: NDArray[Any], classes: Sequence[Any] | NDArray[Any] | None) -> NDArray[Any]:
    """Put the classes in the order of the probability columns."""
    if classes is None:
        try:
            return np.unique(y)
        except TypeError as error:
            raise DataError(f"y mixes labels of different kinds ({error}); use one kind") from error
    kept = np.asarray(classes)
    if kept.ndim == 0 or not len(kept):
        raise ParameterError(f"classes={classes!r} is not a list of labels; list every class once")
    given = list(classes)
    # NumPy turns [1, "sad"] into two strings.
    if kept.ndim != 1 or any(left != right for left, right in zip(kept.tolist(), given, strict=True)):
        raise ParameterError(f"classes={given!r} mixes labels of different kinds; use one kind")
    twice = sorted({str(label) for label in given if given.count(label) > 1})
    if twice:
        raise ParameterError(f"classes names {', '.join(twice)} more than once; list every class once")
    return kept


def encode_labels(y: NDArray[Any], classes: NDArray[Any], name: str = "y") -> NDArray[np.intp]:
    """Turn labels into positions in `classes`."""
    present, inverse = np.unique(y, return_inverse=True)
    number = {label: position for position, label in enumerate(classes.tolist())}
    for position, label in enumerate(present.tolist()):
        if label not in number:
            row = int(np.flatnonzero(inverse == position)[0])
            raise DataError(
                f"label {label!r} of {name} (first at row {row}) is none of the classes "
                f"{classes.tolist()!r}; correct the label, or list the class in classes="
            )
    return np.array([number[label] for label in present.tolist()], dtype=np.intp)[inverse.ravel()]


def class_factors(
    codes: NDArray[np.intp],
    classes: NDArray[Any],
    class_weight: str | Mapping[Any, float] | None,
    sample_weight: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    """Weigh the classes."""
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str) and class_weight == "balanced":
        totals = np.bincount(codes, weights=sample_weight, minlength=len(classes))
        present = totals > 0
        share = totals.sum() / present.sum()
        return np.divide(share, totals, out=np.ones(len(classes)), where=present)
    if not isinstance(class_weight, Mapping):
        raise ParameterError(f"class_weight={class_weight!r} is unknown; use 'balanced', a dict or None")
    for label, weight in class_weight.items():
        if not isinstance(weight, Real) or not 0 <= weight < np.inf:
            raise ParameterError(f"class_weight of {label!r} is {weight!r}; use a finite number of 0 or more")
    labels = classes.tolist()
    foreign = [label for label in class_weight if label not in labels]
    # A fold may lack a class that the mapping names; only when a class has no weight is it a slip of the pen.
    if foreign and not all(label in class_weight for label in labels):
        raise ParameterError(f"class_weight names {foreign!r}, which is none of the classes {labels!r}")
    return np.array([class_weight.get(label, 1.0) for label in labels], dtype=np.float64)
