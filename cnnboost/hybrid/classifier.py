"""HybridClassifier: trunk and head as one estimator of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from cnnboost.boost import BoostClassifier
from cnnboost.cnn.classifier import CNNClassifier
from cnnboost.cnn.inputs import TakesImages, check_images
from cnnboost.errors import ParameterError
from cnnboost.holdout import folds_of, groups_of, hold_out_every_class
from cnnboost.hybrid.bag import check_members, fit_members
from cnnboost.hybrid.calibration import log_probabilities, tempered
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.hybrid.modes import FittedMode, HeadInputs, check_mode, fit_mode
from cnnboost.hybrid.plan import check_plan, given_networks, is_trained
from cnnboost.images.views import TTA, check_tta
from cnnboost.labels import image_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Head = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Features and log-probabilities -> probabilities."""


@dataclass(eq=False, repr=False)
class HybridClassifier(TakesImages, ClassifierMixin, BaseEstimator):
    """A CNN whose softmax is replaced, or improved on, by boosted trees on its features.

    Parameters
    ----------
    cnn : path, keras.Model, CNNClassifier, or a list of them
        A path, a Keras model, a fitted `CNNClassifier` or a `FrozenEstimator` around one is used as it is. An
        unfitted `CNNClassifier` is cloned and trained by `fit`. A list of trained ones is an ensemble: the
        mean of their log-probabilities, and the features of the first.
    layer : str or sequence of str, default="fc1"
        Where the CNN is cut. The features of several layers are put side by side.
    mode : {"plain", "residual", "blend"}, default="plain"
        `plain`: the trees alone, on features of the images given; what published hybrids do. Take it as the
        baseline. `residual`: the trees start from the CNN's log-probabilities divided by a temperature, and
        each must earn its place on images that the CNN was not trained on; the one to take where the hybrid
        is to be better than its CNN. `blend`: a mixture of the calibrated softmax and plain trees; for trees
        that have been tuned by themselves.
    boost : BoostClassifier, optional
        The trees. Default: 20 rounds in `plain`; elsewhere at most 400 rounds of shallow trees with a small
        learning rate.
    views : int, default=1
        Views of each image that the trees are fitted on, the image itself among them. All views of an image
        stay on one side of every split.
    augment : mapping, optional
        How the others differ: fields of `cnnboost.images.augment.Augmentation`. Default: there is one other,
        the mirror image.
    holdout : float, default=0
        Share of the images, class by class and equal images together, that an unfitted CNN is not trained
        on. `fit_on` says what they are for.
    fit_on : {"held-out", "train", "both"}, default="held-out"
        With `holdout`: fit the trees on the images held out (for a network that knows its training images by
        heart), or on those that it was trained on, choosing rounds and temperature on those held out (for a
        network that does not). With `folds`, "both": on the images of the fold and on `validation_data`.
    folds : int, default=0
        Train so many networks, each on the images outside one fold. Each has a head of its own, fitted on the
        images of its fold, which it has not seen: a bagged hybrid, whose prediction is the mean of them all.
        With `layer="output"` there is one head, as features of different networks share no basis: it is
        fitted on the probabilities that each image got from the network that has not seen it, and predicts
        from the mean of the networks.
    tta : {"none", "flip", "shifts", "ten-crop"}, default="none"
        Views of an image whose probabilities are averaged in a prediction.
    norm : bool, default=False
        One more feature: the norm of the others.
    pixels : str, optional
        The range of pixels of a model file or Keras model; see `CNNFeatures`.
    classes : sequence, optional
        The classes of a model file or Keras model in the order of its outputs. Default: numbers.
    image_shape : tuple of int, optional
        `(height, width)` or `(height, width, channels)`, if images come as flat rows.
    random_state : int, default=0
        Seed of splits, folds and views.

    Attributes
    ----------
    classes_ : ndarray, (n_classes,)
    networks_ : list of CNNClassifier
        Several of an ensemble or of folds.
    head_ : FittedMode
        The trees, the temperature, the weight; a bagged hybrid has those of its members instead.
    members_ : list of HybridClassifier
        Of a bagged hybrid: one for each network, with its head. Empty elsewhere.
    n_features_ : int
        Width of what the trees see.

    Examples
    --------
    >>> from cnnboost import CNNClassifier, load_images
    >>> from cnnboost.hybrid import HybridClassifier
    >>> images = load_images("digits", validation_fraction=0.3)
    >>> cnn = CNNClassifier("digits", epochs=2).fit(images.train.X[:600], images.train.labels[:600])
    >>> hybrid = HybridClassifier(cnn, mode="residual")
    >>> hybrid = hybrid.fit(images.train.X[600:], images.train.labels[600:])
    >>> hybrid.predict(images.validation.X[:3]).shape
    (3,)
    """

    _made_at_first_use: ClassVar = ("_extractor",)

    cnn: Any = "digits"
    layer: str | Sequence[str] = "fc1"
    _: KW_ONLY
    mode: str = "plain"
    boost: BoostClassifier | None = None
    views: int = 1
    augment: Mapping[str, Any] | None = None
    holdout: float = 0.0
    fit_on: str = "held-out"
    folds: int = 0
    tta: str = "none"
    norm: bool = False
    pixels: str | None = None
    classes: Sequence[Any] | None = None
    image_shape: tuple[int, ...] | None = None
    random_state: int = 0

    def fit(self, X: Any, y: Any, *, validation_data: tuple[Any, Any] | None = None) -> Self:
        """Train the CNN, if it is not trained, and fit the head.

        Where the CNN is trained already, `residual` and `blend` need images that it was not trained on: as
        `X`, or, if `X` are its training images, as `validation_data`.

        Parameters
        ----------
        X : array-like
            Images, `(n, height, width)` or `(n, height, width, channels)`, in [0, 255].
        y : array-like, (n,)
            Labels.
        validation_data : tuple (X, y), optional
            Images on which rounds, temperature and weight are chosen, in every view of `tta`; with
            `fit_on="both"`, further images that every head is fitted on.

        Returns
        -------
        HybridClassifier
            Itself.

        Raises
        ------
        ParameterError
            If a parameter has an impossible value, or two of them contradict each other.
        DataError
            If a label is none of the CNN's classes, or a split leaves a class empty.
        ModelError
            If the CNN cannot be used.
        LayerError
            If a layer is not there.
        """
        X = check_images(X, self.image_shape)
        check_mode(self.mode)
        check_tta(self.tta)
        layers = self._layers()
        networks = given_networks(self.cnn, self.pixels, self.classes)
        trained = is_trained(networks[0])
        check_plan(self.get_params(deep=False), layers, networks[0], validated=validation_data is not None)
        classes, codes = image_codes(y, len(X), networks[0].classes_ if trained else self.classes)
        others = watched = None
        if validation_data is not None:
            Xv = check_images(validation_data[0], self.image_shape)
            others = Xv, image_codes(validation_data[1], len(Xv), classes)[1]
        self.members_: list[HybridClassifier] = []
        if self.folds and layers != ["output"]:
            return self._adopt(fit_members(self, networks[0], X, codes, classes, others))
        if self.folds:
            seen = self._fold(networks[0], X, codes, classes)
        else:
            fitted_on, watched_images = (X, codes), others
            if self.holdout:
                rest, held = hold_out_every_class(
                    X, codes, fraction=self.holdout, seed=self.random_state, classes=classes
                )
                networks = [self._train(networks[0], X[rest], codes[rest], classes)]
                fitted_on = X[held], codes[held]
                if self.fit_on == "train":
                    fitted_on, watched_images = (X[rest], codes[rest]), fitted_on
            elif not trained:
                networks = [self._train(networks[0], X, codes, classes)]
            self.networks_ = networks
            self._extractor = FeatureExtractor(networks, layers, self.norm)
            seen = self._extractor.grown(*fitted_on, self.views, self.augment, self.random_state)
            if watched_images is not None and self.mode != "plain":
                watched = self._extractor.predicted(*watched_images, self.tta)
        self.classes_ = classes
        self.n_features_ = seen.features.shape[1]
        self.head_: FittedMode = fit_mode(
            self.mode, self._boost(), seen, len(classes), watched=watched, seed=self.random_state
        )
        return self

    @classmethod
    def from_parts(
        cls,
        networks: Sequence[CNNClassifier],
        layer: str | Sequence[str],
        head: FittedMode,
        *,
        tta: str = "none",
        norm: bool = False,
    ) -> Self:
        """Put a trained CNN and a fitted head together.

        Parameters
        ----------
        networks : sequence of CNNClassifier
            Trained; features are those of the first.
        layer : str or sequence of str
            Where the head's features come from. An empty sequence: they are the log-probabilities.
        head : FittedMode
        tta : {"none", "flip", "shifts", "ten-crop"}, default="none"
        norm : bool, default=False
            Whether the head was fitted with the norm of the features.

        Returns
        -------
        HybridClassifier
            Fitted.

        Raises
        ------
        ParameterError
            If the head was fitted on features of another width, or knows other classes.
        """
        hybrid = cls(list(networks), layer, mode=head.mode, tta=check_tta(tta), norm=norm)
        hybrid.networks_, hybrid.classes_, hybrid.head_ = list(networks), networks[0].classes_, head
        hybrid.members_ = []
        hybrid.n_features_ = hybrid.extractor_.width
        if head.boost.n_features_in_ != hybrid.n_features_:
            raise ParameterError(
                f"the head was fitted on {head.boost.n_features_in_} features, and {layer!r} gives "
                f"{hybrid.n_features_}: it belongs to other layers, or norm={norm} is wrong"
            )
        if len(head.boost.classes_) != len(hybrid.classes_):
            raise ParameterError(
                f"the head knows {len(head.boost.classes_)} classes, the CNN {len(hybrid.classes_)}"
            )
        named = [part.classes_.dtype.kind not in "iu" for part in (head.boost, hybrid)]
        if all(named) and list(head.boost.classes_) != list(hybrid.classes_):
            raise ParameterError(
                f"the head knows the classes {', '.join(map(str, head.boost.classes_))}, the CNN "
                f"{', '.join(map(str, hybrid.classes_))}: it belongs to another CNN, or they are in another "
                "order"
            )
        return hybrid

    @classmethod
    def from_members(cls, members: Sequence[HybridClassifier]) -> Self:
        """Put fitted hybrids together, whose mean is predicted: a bagged hybrid.

        Parameters
        ----------
        members : sequence of HybridClassifier
            Fitted, each with a network and a head of its own; of the same classes, layers, mode and views.

        Returns
        -------
        HybridClassifier
            Fitted.

        Raises
        ------
        ParameterError
            If there are none, or they do not go together.
        """
        check_members(members)
        first, networks = members[0], [member.networks_[0] for member in members]
        bag = cls(networks, first.layer, mode=first.mode, folds=len(members), tta=first.tta, norm=first.norm)
        return bag._adopt(list(members))

    def _adopt(self, members: list[HybridClassifier]) -> Self:
        """Become the mean of some hybrids."""
        self.members_, self.classes_ = members, members[0].classes_
        self.networks_ = [member.networks_[0] for member in members]
        self.n_features_ = members[0].n_features_
        for name in ("head_", "_extractor"):  # of an earlier fit
            self.__dict__.pop(name, None)
        return self

    def _fold(
        self, cnn: CNNClassifier, X: np.ndarray, codes: NDArray[np.intp], classes: NDArray[Any]
    ) -> HeadInputs:
        """Train a network for each fold, and ask each about the images that it has not seen."""
        self.networks_ = []
        log_proba = np.empty((len(X), len(classes)), np.float32)
        groups = groups_of(X)
        for rest, held in folds_of(codes, groups, self.folds, self.random_state, classes):
            self.networks_.append(self._train(cnn, X[rest], codes[rest], classes))
            log_proba[held] = log_probabilities(self.networks_[-1].predict_view_proba(X[held]))
        self._extractor = FeatureExtractor(self.networks_, [], norm=False)
        return HeadInputs(log_proba, log_proba, codes, groups)

    def _train(
        self, cnn: CNNClassifier, X: np.ndarray, codes: NDArray[np.intp], classes: NDArray[Any]
    ) -> CNNClassifier:
        # The images are checked and of four axes by now.
        network: CNNClassifier = clone(cnn).set_params(classes=list(classes), image_shape=None)
        return network.fit(X, classes[codes])

    def _boost(self) -> BoostClassifier:
        if self.boost is not None:
            if not isinstance(self.boost, BoostClassifier):
                raise ParameterError(f"boost={self.boost!r}: give a BoostClassifier")
            return self.boost
        if self.mode == "plain":
            return BoostClassifier(n_estimators=20, random_state=self.random_state)
        return BoostClassifier(
            n_estimators=400,
            max_depth=3,
            learning_rate=0.05,
            min_child_weight=20,
            subsample=0.7,
            colsample_bytree=0.3,
            random_state=self.random_state,
        )

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return class probabilities, the mean over the views of `tta`."""
        check_is_fitted(self)
        return self._mean(X, lambda one: one.head_.predict_proba)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each image."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.take(self.classes_, best)

    def predict_softmax(self, X: Any) -> NDArray[np.float32]:
        """Return the class probabilities of the CNN alone, on the same views, at the head's temperature."""
        check_is_fitted(self)
        return self._mean(X, lambda one: lambda _, log_proba: tempered(log_proba, one.head_.temperature))

    def _mean(self, X: Any, head: Callable[[HybridClassifier], _Head]) -> NDArray[np.float32]:
        """Return the mean of what heads say over the views of images, and over the members."""
        X = check_images(X, self.image_shape)
        members = self.members_ or [self]
        total = np.zeros((len(X), len(self.classes_)), np.float32)
        for one in members:
            of = head(one)
            for rows, features, log_proba in one.extractor_.views(X, self.tta):
                total[rows] += of(features, log_proba)
        return total / np.float32(len(members) * TTA[self.tta])

    @property
    def extractor_(self) -> FeatureExtractor:
        """From images to what the head sees."""
        if "_extractor" not in self.__dict__:
            layers = [] if self.folds else self._layers()
            self._extractor = FeatureExtractor(self.networks_, layers, self.norm)
        extractor: FeatureExtractor = self._extractor
        return extractor

    def _layers(self) -> list[str]:
        return [self.layer] if isinstance(self.layer, str) else list(self.layer)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "head_") or bool(getattr(self, "members_", ()))
