"""Study: the trials of a search, in an SQLite file from which a killed search continues."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cnnboost.config import Recipe, Search, changed
from cnnboost.documents import Document
from cnnboost.errors import (
    CnnboostError,
    DataError,
    DeviceError,
    LayerError,
    RecipeError,
    StoreError,
    TrainingError,
)
from cnnboost.files import digest_of, disk_error
from cnnboost.images import ImageSet
from cnnboost.locks import file_lock
from cnnboost.metrics.scores import score
from cnnboost.search.document import tried, write_document
from cnnboost.search.plan import Plan, decoded, plan, suggested
from cnnboost.search.samplers import sampler_for
from cnnboost.stages import Job, Outcome, extract, fit_boost, train
from cnnboost.stages.job import labelled_digest

log = logging.getLogger("cnnboost")

#: Errors of the machine: no fault of a trial's values, so they end the search, and the trial is tried again.
_NOT_THE_VALUES = (StoreError, DeviceError)

_CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "val_epoch")
_REMEDIES = {
    "locked": "Another program has it open: end that one, and run the search again.",
    "readonly": "Make file and folder writable, or name another folder with --models.",
    "unable to open": "Make file and folder readable and writable, or name another folder with --models.",
    "full": "Free space, raise the quota, or name another folder with --models.",
}
_REPORTED = "The trials so far are listed in the JSON document of the search, in the folder of the reports."


class Noted(Document):
    """What is known of a trial that came to an end."""

    number: int
    value: Annotated[float, Field(allow_inf_nan=False)] | None
    interval: list[float] | None = None
    seconds: float | None = None
    error: str | None = None
    cnn: Annotated[float, Field(allow_inf_nan=False)] | None = None
    history: dict[str, list[float]] | None = None


class _Failed(Exception):
    """A trial whose values do not work; its message is recorded."""


def search(job: Job, study: str | None = None) -> Outcome:
    """Run a search of a recipe, or what is left of it.

    Its document is written after every trial; the figures are drawn at the end.
    """
    planned = plan(job.recipe, study)
    optuna = _optuna()
    folder = job.models_dir / "search"
    inner = inner_job(job, planned.metadata, planned.recipe, folder)
    database = folder / ("study.db" if study is None else f"{planned.stem}.db")
    with file_lock(database.with_suffix(".lock"), database):
        with _stored(database):
            trials = _study(optuna, planned, database, inner)
        with job.progress(planned.stem.replace("-", " "), "trial") as report:
            _run(job, planned, inner, trials, report, database)
        return write_document(job, planned, inner, trials, final=True)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise RecipeError("a search needs Optuna: pip install 'cnnboost[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _study(optuna: Any, planned: Plan, database: Path, inner: Job) -> Any:
    metadata = planned.metadata
    name = digest_of(
        {
            # More trials may be added later, and words change no result. A new key changes no name either.
            "search": metadata.model_dump(mode="json", exclude={"trials", "title"}, exclude_defaults=True),
            "recipe": planned.recipe.digest("data", "cnn", "cut", "boost"),
            "images": inner.images.digest,
        }
    )[:16]
    _check_file(database)
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{database}",
        direction="minimize" if metadata.metric == "log_loss" else "maximize",
        load_if_exists=True,
    )
    _take_up(optuna, study)
    trials = study.get_trials(deepcopy=False)
    if any(trial.state == optuna.trial.TrialState.COMPLETE and trial.value is None for trial in trials):
        raise ValueError("the value of a trial is missing")
    for trial in filter(tried, trials):
        Noted.model_validate({"number": trial.number, "value": trial.value, **trial.user_attrs})
        decoded(planned.spaces, trial.params)
    return study


def _check_file(database: Path) -> None:
    """Let SQLite look at the whole file: it would find damage only in the pages that it happens to read."""
    if not database.exists():
        database.parent.mkdir(parents=True, exist_ok=True)
        return
    if not database.is_file():
        raise StoreError(f"{database} is a folder, a device or a pipe; remove it")
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)


@contextmanager
def _stored(database: Path, not_its: Sequence[BaseException] = ()) -> Iterator[None]:
    """Name the database where it cannot be used; errors of the trials (`not_its`) pass."""
    # Optuna, SQLAlchemy and SQLite raise whatever they happen to stumble over in a damaged one.
    try:
        yield
    except CnnboostError:
        raise
    except Exception as error:
        if any(error is one for one in not_its):
            raise
        if isinstance(error, OSError):
            raise disk_error(database, error) from error
        cause = error.__cause__ or error
        reason = (" ".join(str(cause).split()) or type(cause).__name__)[:200]
        if isinstance(cause, LookupError):
            reason = f"unknown or missing entry {reason}"
        known = next((remedy for words, remedy in _REMEDIES.items() if words in reason), None)
        raise StoreError(
            f"{database} cannot be used: {reason}. "
            + (known or f"It is damaged: put a copy back, or remove it to search from the start. {_REPORTED}")
        ) from error


def _take_up(optuna: Any, study: Any) -> None:
    """Put the trials that a kill or a Ctrl-C interrupted into the queue again."""
    states = optuna.trial.TrialState
    trials = study.get_trials(deepcopy=True)
    known = [trial.params for trial in trials if tried(trial)]
    known += [trial.system_attrs.get("fixed_params") for trial in trials if trial.state == states.WAITING]
    for trial in trials:
        if trial.state == states.RUNNING:
            # Nobody else is at work here, the lock says so.
            study.tell(trial.number, state=states.FAIL)
        elif trial.state != states.FAIL or tried(trial):
            continue
        if trial.params and trial.params not in known:
            study.enqueue_trial(trial.params)
            known.append(trial.params)


def _run(job: Job, planned: Plan, inner: Job, study: Any, report: Any, database: Path) -> None:
    metadata, spaces = planned.metadata, planned.spaces
    # Whether trials have networks of their own. Those hold themselves in cycles: left to themselves, they
    # pile up from trial to trial.
    networks = any(key.startswith(("cnn.", "data.")) for key in spaces)
    raised: list[BaseException] = []

    def ended() -> list[Any]:
        with _stored(database):
            return list(filter(tried, study.get_trials(deepcopy=False)))

    def objective(trial: Any) -> float:
        values = suggested(trial, spaces)
        started = time.perf_counter()
        try:
            recipe = changed(planned.recipe, values)
            same = recipe.data == planned.recipe.data
            images_of = inner if same else inner_job(job, metadata, recipe, inner.models)
            scored = run_trial(images_of, metadata, values)
        except _NOT_THE_VALUES:
            raise
        except CnnboostError as error:
            if isinstance(error, LayerError) and not networks:
                raise  # every trial has the same network, and so the same layers
            trial.set_user_attr("error", str(error))
            log.warning("trial %d failed: %s", trial.number, error)
            raise _Failed from error
        except Exception as error:
            raised.append(error)
            raise
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        trial.set_user_attr("interval", scored.interval)
        trial.set_user_attr("cnn", scored.cnn)
        trial.set_user_attr("history", scored.history)
        log.info("trial %d: %s = %.4f with %s", trial.number, metadata.metric, scored.value, values)
        return scored.value

    wanted = planned.wanted
    before = ended()
    if before:
        log.info("the search has %d trials of %d already", len(before), wanted)
    report(len(before), wanted)
    while len(before) < wanted:
        study.sampler = sampler_for(metadata, before)
        with _stored(database, raised):
            study.optimize(objective, n_trials=1, catch=(_Failed,), gc_after_trial=networks)
        before = ended()
        write_document(job, planned, inner, study)
        report(len(before), wanted)
    if all(trial.value is None for trial in before):
        errors = [trial.user_attrs["error"] for trial in before]
        raise TrainingError(f"all {len(errors)} trials of the search failed; the last one: {errors[-1]}")


@dataclass(frozen=True)
class TrialScore:
    """The score of a trial; where trees are searched, that of the CNN below them too."""

    value: float
    interval: tuple[float, float] | None
    history: dict[str, list[float]] | None
    cnn: float | None = None


def inner_job(job: Job, metadata: Search, recipe: Recipe, folder: Path) -> Job:
    """Return the job of the trials: a part of the train split, some of which is for scoring."""
    recipe = changed(recipe, {"evaluate.split": "validation"})
    outer = job if recipe.data == job.recipe.data else replace(job, recipe=recipe)
    return job.with_images(_inner_images(outer.images, metadata), recipe=recipe, models=folder, force=False)


def _inner_images(images: ImageSet, metadata: Search) -> ImageSet:
    images = images.select(images.train.rows)
    if metadata.part < 1:
        try:
            # Of the two sides of a split class by class, the one that is left for fitting.
            rows = images.with_validation(1 - metadata.part, metadata.seed).train.rows
        except DataError:
            raise DataError(
                f"{images.source}: part = {metadata.part:g} of {len(images)} train images does not leave one "
                "of each class; give a larger part"
            ) from None
        images = images.select(rows)
    return images.with_validation(metadata.fraction, metadata.seed)


def run_trial(job: Job, metadata: Search, values: Mapping[str, Any]) -> TrialScore:
    """Train and fit with some values, and score the result on the validation split."""
    recipe = changed(job.recipe, values)
    images = job.images
    # A CNN has a folder of its own; heads on it share that.
    made_from = {"cnn": recipe.digest("data", "cnn"), "train": labelled_digest(images.train)}
    trial = job.with_images(images, recipe=recipe.model_copy(update={"name": digest_of(made_from)[:16]}))
    trained = train(trial)
    split = images.validation
    probabilities = softmax = trained.cnn.predict_proba(split.X)
    if metadata.target != "cnn":
        found = extract(trial, [metadata.target], ["train", "validation"], trained=trained)
        head = fit_boost(trial, metadata.target, features=found["train"])
        probabilities = head.boost.predict_proba(found["validation"].stored[metadata.target].features)

    def scored(of: Any) -> Any:
        confidence = recipe.evaluate.confidence
        scores = score(split.y, of, split.classes, confidence=confidence, n_resamples=100)
        return getattr(scores, metadata.metric)

    estimate = scored(probabilities)
    return TrialScore(
        value=float(estimate.value),
        interval=estimate.interval if metadata.metric == "accuracy" else None,
        cnn=None if metadata.target == "cnn" else float(scored(softmax).value),
        history=_curves(trained.history) if metadata.target == "cnn" else None,
    )


def _curves(history: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: [float(value) for value in history[name]] for name in _CURVES if name in history}
