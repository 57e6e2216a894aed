"""Labels of any kind, and the class numbers and weights that training wants in their place."""

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
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"the label at row {int(np.argmin(np.isfinite(y)))} of y is NaN or infinite")
    check_classification_targets(y)
    return y


def find_classes(y: NDArray[Any], classes: Sequence[Any] | NDArray[Any] | None) -> NDArray[Any]:
    """Put the classes in the order of the probability columns."""
    if classes is None:
        try:
            return np.unique(y)
        except TypeError as error:
            raise DataError(f"y mixes labels of different kinds ({error}); use one kind") from error
    return check_classes(classes)


def check_classes(classes: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Return listed classes as an array without repetitions."""
    names = np.asarray(classes)
    if names.ndim == 0 or not len(names):
        raise ParameterError(f"classes={classes!r} is not a list of labels; list every class once")
    given = list(classes)
    # NumPy turns [1, "sad"] into two strings.
    if names.ndim != 1 or any(left != right for left, right in zip(names.tolist(), given, strict=True)):
        raise ParameterError(f"classes={given!r} mixes labels of different kinds; use one kind")
    twice = sorted({str(label) for label in given if given.count(label) > 1})
    if twice:
        raise ParameterError(f"classes names {', '.join(twice)} more than once; list every class once")
    return names


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


def image_codes(
    y: Any, n: int, classes: Sequence[Any] | NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Turn the labels of `n` images into at least two classes and the number of each image's class."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"y has shape {y.shape}; one label per image is needed")
    if len(y) != n:
        raise DataError(f"there are {n} images and {len(y)} labels")
    y = read_labels(y)
    names = find_classes(y, classes)
    if len(names) < 2:
        raise DataError(f"there is one class only, {names.tolist()[0]!r}; at least two classes are needed")
    return names, encode_labels(y, names)


def class_factors(
    codes: NDArray[np.intp],
    classes: NDArray[Any],
    class_weight: str | Mapping[Any, float] | None,
    sample_weight: NDArray[np.float32] | None = None,
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


def image_weights(
    codes: NDArray[np.intp], classes: NDArray[Any], class_weight: Any, sample_weight: Any
) -> NDArray[np.float32] | None:
    """Return the weight of each image in the loss."""
    weight = None
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float32)
        if weight.shape != codes.shape:
            raise DataError(f"sample_weight has shape {weight.shape}, there are {len(codes)} images")
    if class_weight is None:
        return weight
    of_class = class_factors(codes, classes, class_weight).astype(np.float32)[codes]
    return of_class if weight is None else weight * of_class
