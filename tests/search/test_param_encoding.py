"""What Optuna stores is what the recipe states, back and forth."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from cnnboost.config import Space
from cnnboost.search.param_encoding import codes, decoded, grid_values

CHOICE = st.recursive(
    st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([0.0, 1.0, 1e-5])
    | st.sampled_from(["a", "[1]", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=4,
)


def text(value):
    return json.dumps(value, sort_keys=True)


@given(st.lists(CHOICE, min_size=1, max_size=6, unique_by=text))
def test_choices_come_back_as_they_were(choices):
    space = Space(choices=tuple(choices))
    stored = list(codes(space))
    assert len(stored) == len(choices)
    assert all(isinstance(code, (str, int, float, bool)) for code in stored)
    back = [decoded({"k": space}, {"k": code})["k"] for code in stored]
    assert [text(value) for value in back] == [text(choice) for choice in choices]
    # Also after the storage, which keeps them as JSON.
    assert [text(decoded({"k": space}, {"k": json.loads(json.dumps(c))})["k"]) for c in stored] == [
        text(choice) for choice in choices
    ]


def test_an_interrupted_trial_may_lack_keys():
    space = Space(choices=([1], [2]))
    assert decoded({"a": space, "b": space}, {"a": "[2]"}) == {"a": [2]}


@given(st.integers(0, 5), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_a_grid_over_whole_numbers_has_both_ends_that_fit(low, span, step):
    values = grid_values(Space(low=low, high=low + span, step=step))
    assert values == list(range(low, low + span + 1, step))
