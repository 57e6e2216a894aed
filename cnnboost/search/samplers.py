"""Samplers: what Optuna draws the next trial with.

Every trial has a sampler of its own, seeded with the number of trials before it: a search that was killed
draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnboost.config import Search
from cnnboost.search.plan import grid_values

#: Width of a stage's ranges, as a share of the stage before.
SHRINK = 0.5

Range = tuple[float, float]


def sampler_for(metadata: Search, ended: Sequence[Any]) -> Any:
    """Make the sampler of the next trial."""
    import optuna

    if metadata.sampler == "grid":
        grid = {key: grid_values(space, key) for key, space in sorted(metadata.space.items())}
        return optuna.samplers.GridSampler(grid, seed=metadata.seed)
    entropy = [abs(metadata.seed), int(metadata.seed < 0), len(ended)]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    if metadata.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return _narrowed_sampler(seed, stage_ranges(metadata, ended))


def stage_ranges(metadata: Search, ended: Sequence[Any]) -> dict[str, Range]:
    """Return the ranges of the stage that the next trial belongs to.

    They are `SHRINK` times as wide as those of the stage before, in the logarithm where the space is so, with
    the best trial of the stages before in their middle, and end where the stated range ends.
    """
    stage = _stage(metadata, len(ended))
    before = [
        trial for i, trial in enumerate(ended) if _stage(metadata, i) < stage and trial.value is not None
    ]
    if not before:
        return {}
    best = (min if metadata.metric == "log_loss" else max)(before, key=lambda trial: trial.value)
    return {
        key: _around(best.params[key], space.low, space.high, SHRINK**stage, space.log)
        for key, space in metadata.space.items()
        if space.low is not None and space.high is not None
    }


def _stage(metadata: Search, number: int) -> int:
    """Return the stage of a trial, from 0; trials that are added later belong to the last one."""
    return min(number * metadata.stages // metadata.trials, metadata.stages - 1)


def _around(middle: float, low: float, high: float, share: float, log: bool) -> Range:
    if log:
        # There and back costs the last bits, and the ends of the stated range must hold exactly.
        start, end = _around(math.log(middle), math.log(low), math.log(high), share, False)
        start, end = math.exp(start), math.exp(end)
        return max(low, start), min(high, end)
    half = share * (high - low) / 2
    return max(low, middle - half), min(high, middle + half)


def _narrowed_sampler(seed: int, ranges: Mapping[str, Range]) -> Any:
    """Return a random sampler that draws from narrower ranges than the trials' distributions state."""
    import optuna

    # The distributions stay as they are: the importances of trials with different ones cannot be compared.
    class Narrowed(optuna.samplers.RandomSampler):
        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            if param_name in ranges:
                stated = param_distribution
                low, high = _on_grid(*ranges[param_name], stated)
                param_distribution = type(stated)(low, high, log=stated.log, step=stated.step)
            return super().sample_independent(study, trial, param_name, param_distribution)

    return Narrowed(seed=seed)


def _on_grid(low: float, high: float, distribution: Any) -> Range:
    """Move the ends of a range inwards to values that the distribution has; the middle is one of them."""
    step = distribution.step
    if step is None:
        return low, high
    first = distribution.low
    # Rounded, as 0.1 + 2 * 0.1 is not 0.3 and would be no multiple of the step.
    low = round(first + math.ceil((low - first) / step - 1e-9) * step, 12)
    high = round(first + math.floor((high - first) / step + 1e-9) * step, 12)
    return low, max(low, high)
