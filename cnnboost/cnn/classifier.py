"""CNNClassifier: a Keras CNN as a scikit-learn classifier."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from cnnboost.cnn.checkpoint import Checkpoint, run_digest, run_parameters
from cnnboost.cnn.inference import Inference
from cnnboost.cnn.inputs import TakesImages, check_fits, check_images
from cnnboost.cnn.interface import check_model, output_kind, probabilities
from cnnboost.cnn.model_file import read_model, write_model
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.preprocessing import resolve_pixels
from cnnboost.cnn.teacher import read_teacher
from cnnboost.cnn.training import seeded, train
from cnnboost.cnn.training_model import network
from cnnboost.errors import ModelError
from cnnboost.holdout import hold_out
from cnnboost.images.views import check_tta, mean_over_views
from cnnboost.labels import check_classes, image_codes, image_weights


@dataclass(eq=False, repr=False)
class CNNClassifier(TakesImages, ClassifierMixin, BaseEstimator):
    """A convolutional network as a scikit-learn classifier over images.

    Parameters
    ----------
    model : str, path or callable, default="digits"
        The name of an architecture, a builder function `(input_shape, n_classes, **options) -> keras.Model`,
        or a Keras file (`.keras`, or `.h5` of Keras 2) whose training `fit` continues. To use a trained file
        as it is, see `CNNClassifier.load`.
    model_options : dict, optional
        Keyword options of the architecture, e.g. `{"dropout": 0.3}`.
    epochs, batch_size : int, default=50, 64
        Passes over the training images, at most, and images per step.
    optimizer : str or keras.optimizers.Optimizer, default="adam"
        Keras' name of it, or one that was built (a copy is used).
    learning_rate : float or None, default=1e-3
        The highest. None keeps the optimiser's own.
    momentum : float, optional
        In [0, 1), of optimisers that have one ("sgd", "rmsprop"). Default: the optimiser's own.
    nesterov : bool, default=False
        Nesterov's momentum, with "sgd" and a momentum.
    weight_decay : float, optional
        Decoupled: each step takes this share, times the learning rate, off every weight but biases and the
        scales of normalisation. Default: the optimiser's own.
    decay : float, default=0
        Divide the learning rate by 1 + decay * step, as the `decay` of old Keras versions did.
    schedule : {"constant", "step", "cosine", "one-cycle"}, default="constant"
        Learning rate by step. "step": times `step_factor` after every `step_epochs` epochs. "cosine": up from
        0 in a straight line during `warmup`, then down to 0 along a cosine. "one-cycle": up from 1/25 of
        `learning_rate` during `warmup`, then along a cosine down to 1e-4 of it.
    step_epochs : int, optional
    step_factor : float, default=0.1
    warmup : float, optional
        Share of all steps, in [0, 1). Default: 0 for "cosine", 0.3 for "one-cycle".
    early_stopping : int, optional
        Stop after so many epochs without a lower loss on the validation images (on the training images where
        there are none), and keep the best epoch. With `progressive_resizing` only the epochs of full images
        count: losses of images of different sizes can't be compared.
    reduce_lr : int, optional
        Multiply the learning rate by `reduce_lr_factor` after so many such epochs, down to
        `min_learning_rate`; with a constant schedule.
    reduce_lr_factor : float, default=0.5
    min_learning_rate : float, default=1e-7
    monitor : {"loss", "accuracy", "val_loss", "val_accuracy"}, optional
        Another metric for both.
    loss : {"crossentropy", "focal"}, default="crossentropy"
        Focal: cross-entropy times (1 - p) ** `focal_gamma`, where p is the probability of the right class.
    focal_gamma : float, default=2.0
    label_smoothing : float, default=0
        Share of each target that is spread evenly over all classes, in [0, 1).
    augment : mapping, optional
        Fields of `cnnboost.images.augment.Augmentation`, e.g. `{"flip": 0.5, "rotation": 10}`: every training
        image is changed differently in each epoch, while the network works on earlier ones.
    balance : bool, default=False
        Show every class as often as the largest in each epoch, by repeating images of the others; with
        `augment`, the repetitions differ.
    mixup : float, default=0
        Blend pairs of images and their targets with shares from Beta(mixup, mixup) (Zhang et al., 2018).
    ema : float, optional
        Keep averages of the weights with this momentum, e.g. 0.999; they are what validation scores and what
        the model has in the end. The statistics of batch normalisation are measured for them.
    progressive_resizing : sequence of (int, float), default=()
        Pairs of an image height in pixels and its share of the epochs, e.g. `[(32, 0.5), (40, 0.25)]`: the
        first epochs see (and validation scores) smaller images, the rest, at least one, full ones. For
        networks whose weights do not depend on the size of the images, such as "vgg".
    precision : {"float32", "bfloat16"}, default="float32"
        What training computes in. "bfloat16" is mixed precision: weights, normalisation and everything from
        the last layer with weights on stay float32, and so does the model that is kept; faster where the
        processor has instructions for it.
    steps_per_execution : int, default=1
        Steps that run between two returns to Python; more pays where a step takes a millisecond. All steps
        of an epoch at once let a softmax regression ("linear" with optimizer="sgd" and nothing more) do
        without TensorFlow, which gives the same weights up to rounding.
    validation_freq : int, default=1
        Score the validation images after every so many epochs. `early_stopping` and `reduce_lr` then count
        the epochs that were scored, if those scores are what they watch.
    teacher : path, optional
        Log-probabilities of the training images by a better network, or the mean of several: a file that
        `cnnboost distill` or `cnnboost.cnn.teacher.write_teacher` wrote. Training also follows them (Hinton
        et al., 2015); validation does not.
    teacher_weight : float, default=0.7
        Share of the loss that goes to the teacher, in [0, 1]; the rest is the usual one.
    teacher_temperature : float, default=3.0
        What both log-probabilities are divided by before they are compared. A high one brings out what the
        teacher takes an image for besides its likeliest class.
    class_weight : "balanced" or dict, optional
        Weight of each class in the loss; "balanced" is inverse to its frequency.
    validation_fraction : float, default=0
        Share of the training images held out, class by class and equal images together, where `fit` is given
        no validation data.
    classes : sequence, optional
        All classes in the order of the output's columns; default: those in `y`, sorted.
    image_shape : tuple of int, optional
        `(height, width)` or `(height, width, channels)`, if images come as flat rows.
    pixels : {"raw", "unit", "symmetric", "caffe", "torch"}, optional
        The scale of pixels a model file expects, see `CNNFeatures`. Default: what its first layers say, else
        "unit".
    tta : {"none", "flip", "shifts", "ten-crop"}, default="none"
        Test-time views of each image over which `predict_proba` averages, see `cnnboost.images.views`. A
        hybrid has views of its own.
    callbacks : sequence of keras.callbacks.Callback, optional
        Run beside our own. With `progressive_resizing`, training begins and ends for them at every size
        (`CSVLogger` then needs `append=True`); with it or another `precision`, their `model` is the copy that
        is trained, and `model_` gets its weights in the end.
    checkpoint : path, optional
        Folder for finished epochs; where they are short, some are passed over so that writing takes no more
        than a tenth of the time. A training that was killed continues there when `fit` is called again
        with the same images and parameters. The folder stays when the training is done, so that nothing is
        lost before the model is saved; another training there replaces it.
    random_state : int, default=0
        Seed of initial weights, order of images, augmentation and dropout.

    Attributes
    ----------
    model_ : keras.Model
    classes_ : ndarray, (n_classes,)
    history_ : dict of list of float
        Loss, accuracy, learning rate and seconds by epoch; `val_...` with validation data. With
        `validation_freq`, `val_epoch` has the epochs that these belong to, counted from 1.
    input_shape_ : tuple of int
        Height, width, channels.
    pixels_ : str
        The range of pixels that `model_` expects; images always come in [0, 255].

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from cnnboost import CNNClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> cnn = CNNClassifier("digits", image_shape=(8, 8), epochs=1).fit(X * 15, y)
    >>> cnn.predict_proba(X[:5] * 15).shape
    (5, 10)
    """

    model: str | os.PathLike[str] | Callable[..., Any] = "digits"
    _: KW_ONLY
    model_options: Mapping[str, Any] | None = None
    epochs: int = 50
    batch_size: int = 64
    optimizer: Any = "adam"
    learning_rate: float | None = 1e-3
    momentum: float | None = None
    nesterov: bool = False
    weight_decay: float | None = None
    decay: float = 0.0
    schedule: str = "constant"
    step_epochs: int | None = None
    step_factor: float = 0.1
    warmup: float | None = None
    early_stopping: int | None = None
    reduce_lr: int | None = None
    reduce_lr_factor: float = 0.5
    min_learning_rate: float = 1e-7
    monitor: str | None = None
    loss: str = "crossentropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    augment: Mapping[str, Any] | None = None
    balance: bool = False
    mixup: float = 0.0
    ema: float | None = None
    progressive_resizing: Sequence[tuple[int, float]] = ()
    precision: str = "float32"
    steps_per_execution: int = 1
    validation_freq: int = 1
    teacher: str | os.PathLike[str] | None = None
    teacher_weight: float = 0.7
    teacher_temperature: float = 3.0
    class_weight: Any = None
    validation_fraction: float = 0.0
    classes: Sequence[Any] | None = None
    image_shape: tuple[int, ...] | None = None
    pixels: str | None = None
    tta: str = "none"
    callbacks: Sequence[Any] | None = None
    checkpoint: str | os.PathLike[str] | None = None
    random_state: int = 0

    _made_at_first_use: ClassVar = ("inference_",)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
    ) -> CNNClassifier:
        """Train the network.

        Parameters
        ----------
        X : array-like
            `(n, height, width)` or `(n, height, width, channels)`, in [0, 255].
        y : array-like, (n,)
            Labels of any kind.
        sample_weight : array-like, (n,), optional
            Weight of each image in the loss.
        validation_data : tuple, optional
            `(X, y)` to score after each epoch.

        Returns
        -------
        CNNClassifier
            Itself.

        Raises
        ------
        DataError
            If images or labels cannot be used, or their numbers differ; if the teacher knows other images.
        ModelError
            If the architecture is unknown or does not fit the images.
        ParameterError
            If a parameter has an impossible value.
        TrainingError
            If the loss stops being finite.
        """
        X = check_images(X, self.image_shape)
        classes, codes = image_codes(y, len(X), self.classes)
        check_tta(self.tta)
        options = TrainingOptions.of(self.get_params(deep=False))
        held_out = None
        if validation_data is not None:
            Xv = check_images(validation_data[0], self.image_shape)
            held_out = Xv, image_codes(validation_data[1], len(Xv), classes)[1]
            check_fits(Xv, X.shape[1:])
        weight = image_weights(codes, classes, self.class_weight, sample_weight)
        soft_targets = None if self.teacher is None else read_teacher(self.teacher, X, classes)
        if held_out is None and self.validation_fraction:
            kept, held = hold_out(X, codes, fraction=self.validation_fraction, seed=self.random_state)
            held_out = X[held], codes[held]
            X, codes = X[kept], codes[kept]
            weight = None if weight is None else weight[kept]
            soft_targets = None if soft_targets is None else soft_targets[kept]
        with seeded(self.random_state):
            model, pixels, kind = network(
                self.model, X.shape[1:], len(classes), self.model_options, self.pixels
            )
        checkpoint = None
        if self.checkpoint is not None:
            # Weights and validation images that follow from the parameters need not be told twice.
            given = None if sample_weight is None else weight, None if validation_data is None else held_out
            run = run_digest(model, X, codes, run_parameters(self.get_params(), options), *given)
            checkpoint = Checkpoint(self.checkpoint, run)
        self.history_ = train(
            model,
            X,
            codes,
            options,
            kind=kind,
            pixels=pixels,
            sample_weight=weight,
            soft_targets=soft_targets,
            validation=held_out,
            callbacks=list(self.callbacks or ()),
            checkpoint=checkpoint,
        )
        self._adopt(model, classes, pixels, kind)
        return self

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, classes: Sequence[Any] | None = None, pixels: str | None = None
    ) -> CNNClassifier:
        """Take a trained Keras file as it is.

        Parameters
        ----------
        path : path-like
            A `.keras` file, or an `.h5` file of Keras 2.
        classes : sequence, optional
            Class names in the order of the output's columns; default 0, 1, 2, ...
        pixels : {"raw", "unit", "symmetric", "caffe", "torch"}, optional
            The scale of pixels the model expects. Default: what its first layers say, else "unit".

        Returns
        -------
        CNNClassifier
            Fitted.

        Raises
        ------
        ModelError
            If the file cannot be loaded or has not as many outputs as there are classes.
        """
        estimator = cls.from_model(read_model(path), classes=classes, pixels=pixels, place=os.fspath(path))
        return estimator.set_params(model=os.fspath(path))

    @classmethod
    def from_model(
        cls,
        model: Any,
        *,
        classes: Sequence[Any] | None = None,
        pixels: str | None = None,
        place: str = "the model",
    ) -> CNNClassifier:
        """Take a trained Keras model as it is; `load` for models in memory.

        Parameters
        ----------
        model : keras.Model
        classes, pixels
            As for `load`.
        place : str
            Where the model comes from, for messages.

        Returns
        -------
        CNNClassifier
            Fitted.

        Raises
        ------
        ModelError
            If the model takes no images, gives no class probabilities, or has not as many outputs as there
            are classes.
        """
        model = check_model(model, place)
        kind = output_kind(model, place)
        width = 2 if kind == "sigmoid" else int(model.output_shape[-1])
        names = check_classes(np.arange(width) if classes is None else classes)
        if len(names) != width:
            raise ModelError(f"{place}: the model tells {width} classes apart, {len(names)} were named")
        estimator = cls(classes=classes, pixels=pixels)
        estimator.history_ = {}
        estimator._adopt(model, names, resolve_pixels(model, pixels, place), kind)
        return estimator

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, the mean over the views of `tta`."""
        check_is_fitted(self)
        return mean_over_views(self.predict_view_proba, check_images(X, self.image_shape), self.tta)

    def predict_view_proba(self, X: np.ndarray) -> np.ndarray:
        """Return class probabilities of images just as they are, whatever `tta` says.

        Images are not checked here: views of images that were checked may be floats of few grey levels,
        which look like pixels that were scaled.
        """
        check_is_fitted(self)
        return probabilities(self.inference_(X)[0], self.output_kind_)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image."""
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the trained model as a `.keras` file."""
        check_is_fitted(self)
        return write_model(self.model_, path)

    @cached_property
    def inference_(self) -> Inference:
        """The traced model; made at first use and never pickled."""
        return Inference(self.model_, self.pixels_)

    def _adopt(self, model: Any, classes: np.ndarray, pixels: str, kind: str) -> None:
        self.model_ = model
        self.classes_ = classes
        self.pixels_ = pixels
        self.output_kind_ = kind
        self.input_shape_ = tuple(model.input_shape[1:])
        self.__dict__.pop("inference_", None)
