from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def xgboost() -> ModuleType:
    import xgboost

    return xgboost


@pytest.fixture(scope="session")
def features() -> NDArray[np.float32]:
    """300 rows of 6 features, three clusters that overlap a little."""
    rng = np.random.default_rng(7)
    centres = np.repeat(rng.normal(size=(3, 6)), 100, axis=0)
    return (centres + rng.normal(scale=0.8, size=(300, 6))).astype(np.float32)


@pytest.fixture(scope="session")
def numbers() -> NDArray[np.int_]:
    return np.repeat([0, 1, 2], 100)


@pytest.fixture(scope="session")
def emotions(numbers: NDArray[np.int_]) -> NDArray[np.str_]:
    return np.array(["angry", "happy", "sad"])[numbers]
