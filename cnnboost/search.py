"""Search: many versions of a recipe through one line, judged on images that none of them was fitted on.

Optuna chooses the values (grid, random, tree-structured Parzen estimators [1]_) and keeps every trial in an
SQLite file, so that a search that was killed goes on. Trials are fitted on a part of the train split and
judged on the rest of it: the split that is scored in the end decides nothing.

References
----------
.. [1] J. Bergstra, R. Bardenet, Y. Bengio and B. Kégl, "Algorithms for Hyper-Parameter Optimization",
   NeurIPS 2011.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnboost.errors import CnnboostError, RecipeError, TrainingError
from cnnboost.evaluation.scores import score
from cnnboost.files import digest_of, write_json
from cnnboost.line import Job, extract, fit_boost, train
from cnnboost.line.job import alone
from cnnboost.line.provenance import machine, versions
from cnnboost.recipe import Recipe, Space, changed

log = logging.getLogger("cnnboost")

FORMAT = 1


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes
    ----------
    document : dict
        What `search.json` holds: every trial, the best one, on which images was judged.
    path : Path
    """

    document: dict[str, Any]
    path: Path


def search(job: Job) -> Found:
    """Run the search of a recipe, or what is left of it.

    Parameters
    ----------
    job : Job

    Returns
    -------
    Found

    Raises
    ------
    RecipeError
        If the recipe states no space, a key of it is unknown, or a grid has a range without steps.
    CnnboostError
        If every trial failed; the message is that of the last one.
    """
    facts = job.recipe.search
    if not facts.space:
        raise RecipeError(
            f"recipe {job.recipe.name!r} searches nothing: give [search.space], e.g. "
            '"boost.max_depth" = { choices = [4, 6, 8] }'
        )
    spaces = dict(sorted(facts.space.items()))
    for key, space in spaces.items():
        # A key that no recipe has must show before anything is trained.
        changed(job.recipe, {key: _values(space)[0] if space.choices else space.low})
    optuna = _optuna()
    folder = job.models_dir / "search"
    inner = _inner(job, folder)
    with alone(folder / "study.lock", folder / "study.db"):
        study = _study(optuna, job.recipe, spaces, folder, inner)
        with job.progress("search", "trial") as report:
            _run(study, inner, spaces, report)
    return _document(job, inner, study)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise RecipeError("a search needs Optuna: pip install 'cnnboost[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _inner(job: Job, folder: Path) -> Job:
    """Return the job of the trials: its validation split is a part of the outer train split."""
    facts = job.recipe.search
    images = job.images
    part = images.select(images.train.rows).with_validation(facts.fraction, facts.seed)
    recipe = job.recipe.model_copy(
        update={"evaluate": job.recipe.evaluate.model_copy(update={"split": "validation"})}
    )
    inner = replace(job, recipe=recipe, models=folder, force=False)
    inner.__dict__["images"] = part
    return inner


def _study(optuna: Any, recipe: Recipe, spaces: Mapping[str, Space], folder: Path, inner: Job) -> Any:
    facts = recipe.search
    name = digest_of(
        {
            "search": facts.model_dump(mode="json", exclude={"trials"}),
            "recipe": recipe.digest("data", "cnn", "cut", "boost"),
            "images": inner.images.digest,
        }
    )[:16]
    samplers = {
        "grid": lambda: optuna.samplers.GridSampler(
            {key: _values(space, key) for key, space in spaces.items()}, seed=facts.seed
        ),
        "random": lambda: optuna.samplers.RandomSampler(seed=facts.seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=facts.seed),
    }
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{folder / 'study.db'}",
        sampler=samplers[facts.sampler](),
        direction="minimize" if facts.metric == "log_loss" else "maximize",
        load_if_exists=True,
    )
    _take_up(optuna, study)
    return study


def _take_up(optuna: Any, study: Any) -> None:
    """Put the trials that a kill or a Ctrl-C interrupted into the queue again."""
    states = optuna.trial.TrialState
    trials = study.get_trials(deepcopy=True)
    known = [trial.params for trial in trials if _tried(trial)]
    known += [trial.system_attrs.get("fixed_params") for trial in trials if trial.state == states.WAITING]
    for trial in trials:
        if trial.state == states.RUNNING:
            # Nobody else is at work here, the lock says so.
            study.tell(trial.number, state=states.FAIL)
        elif trial.state != states.FAIL or _tried(trial):
            continue
        if trial.params and trial.params not in known:
            study.enqueue_trial(trial.params)
            known.append(trial.params)


def _tried(trial: Any) -> bool:
    """Tell whether a trial came to an end of its own: with a value, or with an error."""
    return trial.value is not None or "error" in trial.user_attrs


def _run(study: Any, job: Job, spaces: Mapping[str, Space], report: Any) -> None:
    facts = job.recipe.search

    def done() -> int:
        return sum(map(_tried, study.get_trials(deepcopy=False)))

    if done():
        log.info("the search continues after %d of %d trials", done(), facts.trials)

    def objective(trial: Any) -> float:
        values = {key: _suggest(trial, key, space) for key, space in spaces.items()}
        started = time.perf_counter()
        try:
            value = judge(job, values)
        except CnnboostError as error:
            trial.set_user_attr("error", str(error))
            log.warning("trial %d failed: %s", trial.number, error)
            raise
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        log.info("trial %d: %s = %.4f with %s", trial.number, facts.metric, value, values)
        return value

    wanted = facts.trials
    if facts.sampler == "grid":
        wanted = min(wanted, math.prod(len(_values(space)) for space in spaces.values()))
    report(done(), wanted)
    while done() < wanted:
        study.optimize(objective, n_trials=1, catch=(CnnboostError,))
        report(done(), wanted)
    trials = study.get_trials(deepcopy=False)
    if all(trial.value is None for trial in trials):
        errors = [trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs]
        raise TrainingError(f"all {len(errors)} trials of the search failed; the last one: {errors[-1]}")


def judge(job: Job, values: Mapping[str, Any]) -> float:
    """Walk the line with some values and judge what comes out on the validation split.

    Parameters
    ----------
    job : Job
        Its models folder is shared by all trials: the CNN of equal facts is trained once, its features are
        extracted once.
    values : mapping of str to object
        By key of the recipe.

    Returns
    -------
    float
        The metric of the search.
    """
    facts = job.recipe.search
    recipe = changed(job.recipe, values)
    # A CNN has a folder of its own; heads on it share that.
    named = recipe.model_copy(update={"name": recipe.digest("data", "cnn")[:16]})
    trial = replace(job, recipe=named)
    trial.__dict__["images"] = job.images
    trained = train(trial)
    split = job.images.validation
    if facts.target == "cnn":
        probabilities = trained.cnn.predict_proba(split.X)
    else:
        found = extract(trial, [facts.target], ["train", "validation"], trained=trained)
        head = fit_boost(trial, facts.target, features=found["train"])
        probabilities = head.boost.predict_proba(found["validation"].stored[facts.target].X)
    scores = score(split.y, probabilities, split.classes, n_resamples=100)
    return float(getattr(scores, facts.metric).value)


def _suggest(trial: Any, key: str, space: Space) -> Any:
    if space.choices is not None:
        return trial.suggest_categorical(key, list(space.choices))
    low, high, step = space.low, space.high, space.step
    if isinstance(low, int) and isinstance(high, int) and (step is None or step == int(step)):
        return trial.suggest_int(key, low, high, step=int(step or 1), log=space.log)
    return trial.suggest_float(key, low, high, step=step, log=space.log)


def _values(space: Space, key: str = "") -> list[Any]:
    """List the values of a space that a grid can try."""
    if space.choices is not None:
        return list(space.choices)
    low, high = space.low, space.high
    assert low is not None
    assert high is not None
    step = space.step or (1 if isinstance(low, int) and isinstance(high, int) and not space.log else None)
    if step is None:
        raise RecipeError(f'[search.space] "{key}": a grid needs choices, or low, high and step')
    count = math.floor((high - low) / step + 1e-9) + 1
    whole = isinstance(low, int) and float(step).is_integer()
    return [int(low + i * step) if whole else round(low + i * step, 12) for i in range(count)]


def _document(job: Job, inner: Job, study: Any) -> Found:
    facts = job.recipe.search
    trials = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "values": trial.params,
            "seconds": trial.user_attrs.get("seconds"),
            "error": trial.user_attrs.get("error"),
        }
        for trial in study.get_trials(deepcopy=False)
        if _tried(trial)
    ]
    document = {
        "format": FORMAT,
        "recipe": job.recipe.name,
        "title": job.recipe.title,
        "target": facts.target,
        "metric": facts.metric,
        "sampler": facts.sampler,
        "seed": facts.seed,
        "judged_on": f"{facts.fraction:.0%} of train",
        "images": {name: len(inner.images[name]) for name in inner.images.split_names},
        "best": {"value": study.best_value, "values": study.best_params, "number": study.best_trial.number},
        "trials": trials,
        "recipe_facts": job.recipe.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions(),
    }
    return Found(document, write_json(job.reports_dir / "search.json", document))
