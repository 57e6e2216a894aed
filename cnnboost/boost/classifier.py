"""BoostClassifier: XGBoost on features, as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from cnnboost.boost.blocks import refuse_non_finite
from cnnboost.boost.cluster import check_for_cluster, check_in_files, grow_on_cluster
from cnnboost.boost.headfile import SavedHead
from cnnboost.boost.params import check_parameters, draw_seed
from cnnboost.boost.trees import Rows, check_margin, grow_trees
from cnnboost.errors import DataError, ParameterError
from cnnboost.features.feature_parts import FeatureParts
from cnnboost.holdout import hold_out
from cnnboost.labels import class_factors, encode_labels, find_classes, read_labels
from cnnboost.memory import parse_size

if TYPE_CHECKING:
    from numpy.random import RandomState


@dataclass(eq=False, repr=False)
class BoostClassifier(ClassifierMixin, SavedHead):
    """XGBoost `multi:softprob` on features: the head of a hybrid.

    The objective is `multi:softprob` also for two classes, the trees are histogram trees, and labels may be
    strings, booleans or integers with gaps. Parameters that XGBoost has too mean the same there.

    Parameters
    ----------
    n_estimators : int, default=100
        Boosting rounds; each adds one tree per class. 0 is possible with base margins alone, which then are
        all there is.
    max_depth : int, default=6
        Depth of a tree.
    learning_rate : float, default=0.3
        Shrinkage of each round's step (XGBoost's `eta`).
    min_child_weight : float, default=1
        Least sum of second derivatives in a leaf.
    gamma : float, default=0
        Least loss reduction for a split.
    subsample : float, default=1
        Share of the rows that each round sees.
    colsample_bytree : float, default=1
        Share of the features that each tree sees.
    reg_lambda : float, default=1
        L2 penalty on leaf values.
    reg_alpha : float, default=0
        L1 penalty on leaf values.
    max_bin : int, default=256
        Most histogram bins a feature. On a few thousand rows, 32 take a fifth of the time of 256 on wide
        layers and are no less accurate.
    class_weight : {"balanced"}, dict of label to weight, or None, default=None
        Multiplies the weights of the rows of a class.
    classes : sequence of labels or None, default=None
        All classes, in the order of the probability columns; None takes those in `y`, sorted. With it, a
        fold that lacks a class still has the column, with a probability of 1e-12 or so. scikit-learn's
        probability scorers take columns to be sorted by label, so list them sorted if you use those; and
        `cross_val_predict(method="predict_proba")` numbers the labels before it fits, so list the numbers.
    early_stopping_rounds : int or None, default=None
        Stop when the log-loss on the watched rows has not improved for so many rounds, and keep the rounds
        up to the best one.
    validation_fraction : float, default=0.1
        Share of the rows, drawn class by class, that early stopping watches when `fit` gets no
        `validation_data`. They are not trained on. This is what works inside a Pipeline, whose earlier
        steps would not be applied to `validation_data`.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        Where to train: see `resolve_device`. `device_` says where it really happened.
    n_jobs : int or None, default=None
        Threads, counted as joblib counts them. None: as many as the features keep busy, all cores (or what
        OMP_NUM_THREADS allows) from 100,000 values a core on. The number changes the order in which sums
        are rounded, no more.
    random_state : int, RandomState instance or None, default=0
        Seed of sub-sampling and of the rows held out.
    xgb_params : dict or None, default=None
        Further parameters of XGBoost under its own names, e.g. `{"colsample_bynode": 0.5}`. A name that
        XGBoost does not know is an error.

    Attributes
    ----------
    classes_ : ndarray of shape (k,)
        The classes, in the order of the probability columns.
    booster_ : xgboost.Booster
        The trees that predictions use, all of them and no others.
    device_ : str
        "cpu" or "cuda:N": where the trees were grown, as XGBoost's own configuration says.
    best_iteration_ : int
        Index of the round with the lowest watched log-loss; the last round without early stopping; -1 where
        no round was better than the base margins alone.
    n_estimators_ : int
        Rounds in `booster_`; 0 where no round was better than the base margins alone.
    evals_result_ : dict
        `{"validation": {"mlogloss": [...]}}`, one value for each round trained; empty if none was watched.
    seed_ : int
        The seed that XGBoost was given.
    needs_margin_ : bool
        Whether `fit` was given base margins, so that predictions need theirs.
    details_ : dict
        Of a head that was loaded: what `save` was given.
    n_features_in_ : int
        Width of the features.
    feature_names_in_ : ndarray of str
        Column names, when `X` had names that are all strings.

    Notes
    -----
    A `y` with one single class is accepted and gives a constant classifier with probability 1: a
    cross-validation over rare classes then scores such a fold instead of ending with an error.

    Examples
    --------
    >>> import numpy as np
    >>> features = np.array([[0.1], [0.2], [0.8], [0.9]], dtype=np.float32)
    >>> labels = ["sad", "sad", "happy", "happy"]
    >>> head = BoostClassifier(n_estimators=5, min_child_weight=0).fit(features, labels)
    >>> head.predict([[0.15], [0.85]])
    array(['sad', 'happy'], dtype='<U5')
    >>> head.predict_proba([[0.15]]).shape, head.n_estimators_
    ((1, 2), 5)
    """

    _: KW_ONLY
    n_estimators: int = 100
    max_depth: int = 6
    learning_rate: float = 0.3
    min_child_weight: float = 1
    gamma: float = 0
    subsample: float = 1
    colsample_bytree: float = 1
    reg_lambda: float = 1
    reg_alpha: float = 0
    max_bin: int = 256
    class_weight: str | Mapping[Any, float] | None = None
    classes: Sequence[Any] | NDArray[Any] | None = None
    early_stopping_rounds: int | None = None
    validation_fraction: float = 0.1
    device: str = "auto"
    n_jobs: int | None = None
    random_state: int | RandomState | None = 0
    xgb_params: Mapping[str, Any] | None = None

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        base_margin: ArrayLike | None = None,
        validation_data: tuple[ArrayLike, ...] | None = None,
        memory: str | int | None = None,
        client: Any = None,
    ) -> Self:
        """Grow the trees.

        Parameters
        ----------
        X : array-like of shape (n, d), or FeatureParts
            Features; float32 arrays, memory maps included, are used without a copy. `FeatureParts` are
            features on the disk; from 1 GiB on they are read block by block, and never are in memory as a
            whole.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,), default=None
            Weights of 0 or more; a row of weight 0 is as good as left out, one of weight 3 as three copies
            of it (to the last bit in small sets, to float32 rounding in large ones; with `subsample` below 1
            the rows drawn differ).
        base_margin : array-like of shape (n, k), default=None
            Scores from which boosting starts, one for each row and class, in the order of `classes_`: the
            log-probabilities of another model, say. Predictions then need theirs. With early stopping, the
            rounds must better these scores alone; else none is kept.
        validation_data : tuple (X, y) or (X, y, base_margin), default=None
            Rows to watch in place of a held-out part; they are weighed by `class_weight` as the others are.
        memory : str or int, default=None
            Where `X` is `FeatureParts` of more than 1 GiB: what XGBoost's bins of it and the scores of its
            rows may take, in bytes or as "2GiB"; None is half of what is free. What would take more is kept
            in a cache on the disk, in the folder of the first file, for as long as the trees grow. The blocks
            that are read, the sample by which bins are cut and the histograms of the trees come on top, a
            gigabyte or so. Less than 1 GiB is read into memory in any case.
        client : distributed.Client, default=None
            Have the workers of a Dask cluster grow the trees. `X`, and that of `validation_data`, are then
            `FeatureParts` in a folder that all machines see; each worker reads an equal share of the rows and
            keeps it in memory. Trees depend on the number of workers, their accuracy does not.

        Returns
        -------
        self
            The fitted classifier.

        Raises
        ------
        FeatureError
            If a feature is NaN or infinite.
        DataError
            If a label is none of `classes`, or no row carries weight.
        ParameterError
            If a parameter is unknown to XGBoost or has an impossible value.
        StoreError
            If a file of `FeatureParts` was changed, or the disk has no room for the cache.
        DeviceError
            If a GPU was demanded and training cannot run there.
        TrainingError
            If XGBoost gives up.
        ClusterError
            If the cluster of `client` cannot do the work, or is gone.
        """
        check_parameters(self.get_params(deep=False))
        if client is not None:
            check_for_cluster(base_margin, self.device)
        if memory is not None:
            parse_size(memory)
        seed = draw_seed(self.random_state)
        X, y = self._validated(X, y, reset=True, on_disk=client is not None)
        y = read_labels(y)
        classes = find_classes(y, self.classes)
        codes = encode_labels(y, classes)
        if base_margin is None and self.n_estimators == 0:
            raise ParameterError(
                "n_estimators == 0 leaves nothing to predict from; pass base_margin, or give 1"
            )
        margin = check_margin(base_margin, len(X), classes, "base_margin", base_margin is not None)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=np.float32, ensure_non_negative=True)
        watched = self._watched(validation_data, classes, margin is not None, client is not None)
        rows = Rows(X, codes, weight, margin).repeated()
        if self.class_weight is not None:
            factors = class_factors(rows.codes, classes, self.class_weight, rows.weight)
            rows = rows.weighted(factors)
            watched = watched and watched.weighted(factors)
        rows, watched = rows.with_weight(), watched and watched.with_weight()
        for part, name in ((rows, "y"), (watched, "validation_data")):
            if part is not None and not len(part.X):
                raise DataError(
                    f"no row of {name} carries weight: sample_weight or class_weight is zero throughout"
                )
        if watched is None and self.early_stopping_rounds is not None:
            train, held = hold_out(rows.X, rows.codes, fraction=self.validation_fraction, seed=seed)
            rows, watched = rows.take(train), rows.take(held)
        given = (self.get_params(deep=False), rows, watched, len(classes), seed)
        trees = grow_trees(*given, memory) if client is None else grow_on_cluster(client, *given)
        self.classes_ = classes
        self.seed_ = seed
        self.needs_margin_ = rows.margin is not None
        self.booster_ = trees.booster
        self.device_ = trees.device
        self.best_iteration_ = trees.best_iteration
        self.n_estimators_ = trees.best_iteration + 1
        self.evals_result_ = trees.history
        return self

    def predict_proba(self, X: Any, base_margin: ArrayLike | None = None) -> NDArray[np.float32]:
        """Give the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, d), or FeatureParts
            Features; those on the disk are read block by block.
        base_margin : array-like of shape (n, k), default=None
            Scores from which the trees start; given if and only if `fit` was.

        Returns
        -------
        ndarray of shape (n, k), float32
            Probabilities in the order of `classes_`; each row sums to 1.

        Raises
        ------
        DataError
            If margins are missing, of the wrong shape, or given to a head that was fitted without.
        """
        check_is_fitted(self, "booster_")
        X = self._validated(X)
        margin = check_margin(base_margin, len(X), self.classes_, "base_margin", self.needs_margin_)
        if isinstance(X, FeatureParts):
            found = np.empty((len(X), len(self.classes_)), np.float32)
            for start, block in X.blocks():
                refuse_non_finite(block, "X", start)
                rows = slice(start, start + len(block))
                found[rows] = self._proba(block, None if margin is None else margin[rows])
            return found
        return self._proba(X, margin)

    def _proba(self, X: NDArray[np.float32], margin: NDArray[np.float32] | None) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self.booster_.inplace_predict(
            X, iteration_range=(0, self.n_estimators_), validate_features=False, base_margin=margin
        )
        # XGBoost drops the axis of a single class.
        return probabilities.reshape(len(X), len(self.classes_))

    def predict(self, X: Any, base_margin: ArrayLike | None = None) -> NDArray[Any]:
        """Give the most probable class.

        Parameters
        ----------
        X : array-like of shape (n, d), or FeatureParts
            Features; those on the disk are read block by block.
        base_margin : array-like of shape (n, k), default=None
            As for `predict_proba`.

        Returns
        -------
        ndarray of shape (n,)
            Labels from `classes_`.
        """
        # The probabilities come first: they refuse a classifier that is not fitted.
        best = self.predict_proba(X, base_margin).argmax(axis=1)
        return np.take(self.classes_, best)

    @property
    def feature_importances_(self) -> NDArray[np.float32]:
        """Mean gain of each feature's splits, shape (n_features_in_,), float32, summing to 1 (or all 0)."""
        check_is_fitted(self, "booster_")
        gains = np.zeros(self.n_features_in_, dtype=np.float32)
        for name, gain in self.booster_.get_score(importance_type="gain").items():
            gains[int(name.removeprefix("f"))] = np.sum(gain)
        total = gains.sum()
        return gains / total if total else gains

    def _validated(self, X: Any, *y: Any, name: str = "X", reset: bool = False, on_disk: bool = False) -> Any:
        """Check features (and labels, if there are any) as scikit-learn does; float32 is not copied."""
        if on_disk:
            check_in_files(X, name)
        if isinstance(X, FeatureParts):
            if X.n_blocks > 1 or on_disk:
                validate_data(self, X, skip_check_array=True, reset=reset)
                check_consistent_length(X, *y)
                return (X, column_or_1d(np.asarray(y[0]), warn=True)) if y else X
            X = np.asarray(X)
        # What becomes infinite in float32 is named below, so NumPy's warning would say it twice.
        with np.errstate(over="ignore"):
            checked = validate_data(self, X, *y, dtype=np.float32, ensure_all_finite=False, reset=reset)
        refuse_non_finite(checked[0] if y else checked, name)
        return checked

    def _watched(
        self, validation_data: Any, classes: NDArray[Any], has_margin: bool, on_disk: bool
    ) -> Rows | None:
        if validation_data is None:
            return None
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            length = f" of {len(validation_data)}" if isinstance(validation_data, tuple | list) else ""
            raise DataError(
                f"validation_data is a {type(validation_data).__name__}{length}; pass a tuple (X, y) or "
                "(X, y, base_margin)"
            )
        X, y, *margins = validation_data
        X, y = self._validated(X, y, name="X of validation_data", on_disk=on_disk)
        given = margins[0] if margins else None
        margin = check_margin(given, len(X), classes, "base_margin of validation_data", has_margin)
        return Rows(X, encode_labels(read_labels(y), classes, "validation_data"), None, margin)
