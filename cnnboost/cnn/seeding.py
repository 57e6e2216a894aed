"""What a training draws at random: one seed for all of it, and dropout that depends on the epoch alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cnnboost.images.augment import DROPOUT, uniforms

_RANDOM = "seed_generator_state"
"""How Keras names the variable from which a layer draws."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Keras, and give Python's and NumPy's global generators back as they were."""
    import keras

    # Keras draws from these two, so they are what has to be given back.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        keras.utils.set_random_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def reseed(model: Any, seed: int, epoch: int) -> None:
    """Let what a model draws in an epoch (dropout) depend on the seed and the epoch alone."""
    weights = {id(variable) for variable in model.weights}
    states = [v for v in model.non_trainable_variables if id(v) not in weights and v.name.endswith(_RANDOM)]
    drawn = (uniforms(DROPOUT, seed, epoch, np.arange(len(states)), 2) * 2**31).astype(np.int64)
    for state, numbers in zip(states, drawn, strict=True):
        state.assign(numbers)
