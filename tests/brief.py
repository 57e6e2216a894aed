"""Less work for estimators in what is shown to readers: what it learns is seen where the docs are built."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def at_most(kind: type, name: str, most: int) -> Iterator[None]:
    """Fit estimators of a class with no more epochs or rounds than so many."""
    fit = kind.fit

    def few(self, *given, **options):
        return fit(self.set_params(**{name: min(getattr(self, name), most)}), *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "fit", few)
        yield
