"""Document: what a search found, as a JSON file and figures."""

from __future__ import annotations

from typing import Any

from cnnboost.files import write_json
from cnnboost.report.plots import save_figure
from cnnboost.report.search_plots import search_figures
from cnnboost.report.searches import ranked
from cnnboost.search.plan import Plan, decoded
from cnnboost.stages import Job, Outcome
from cnnboost.stages.provenance import made_with

FORMAT = 1

#: Below this many trials with a value, importances would be noise.
FEWEST = 4


def tried(trial: Any) -> bool:
    """Tell whether a trial came to an end of its own: with a value, or with an error."""
    return trial.value is not None or "error" in trial.user_attrs


def write_document(job: Job, planned: Plan, inner: Job, study: Any, *, final: bool = False) -> Outcome:
    """Write what there is so far; importances and figures wait for the end."""
    document = _document(job, planned, inner, study)
    paths = []
    if final:
        document["importances"] = _importances(planned, study)
        for kind, (title, figure) in search_figures(document).items():
            paths.append(save_figure(figure, job.reports_dir / "figures" / f"{planned.stem}-{kind}.png"))
            document["figures"].append({"file": paths[-1].name, "title": title})
    return Outcome(document, write_json(job.reports_dir / f"{planned.stem}.json", document), paths)


def _document(job: Job, planned: Plan, inner: Job, study: Any) -> dict[str, Any]:
    metadata, recipe, images = planned.metadata, job.recipe, inner.images
    trials = [_trial(planned, trial) for trial in study.get_trials(deepcopy=False) if tried(trial)]
    best = next(iter(ranked(trials, metadata.metric)[0]), None)
    part = "train" if metadata.part == 1 else f"{metadata.part:.0%} of train"
    return {
        "format": FORMAT,
        "recipe": recipe.name,
        "study": planned.study,
        "title": metadata.title or recipe.title,
        "target": metadata.target,
        "metric": metadata.metric,
        "sampler": metadata.sampler,
        "stages": metadata.stages,
        "seed": metadata.seed,
        "set": dict(metadata.set),
        "space": {
            key: space.model_dump(mode="json", exclude_none=True) for key, space in planned.spaces.items()
        },
        "part": metadata.part,
        "fraction": metadata.fraction,
        "judged_on": f"{metadata.fraction:.0%} of {part}",
        "confidence": recipe.evaluate.confidence,
        "images": {name: len(images[name]) for name in images.split_names},
        "wanted": planned.wanted,
        "best": best and {key: best[key] for key in ("value", "interval", "values", "number")},
        "trials": trials,
        "importances": None,
        "figures": [],
        **made_with(recipe),
    }


def _trial(planned: Plan, trial: Any) -> dict[str, Any]:
    noted = ("interval", "cnn", "seconds", "error", "history")
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "values": decoded(planned.spaces, trial.params),
        **{key: trial.user_attrs.get(key) for key in noted},
    }


def _importances(planned: Plan, study: Any) -> dict[str, float] | None:
    """Return the share of each key in the spread of the values: fANOVA."""
    import optuna

    values = [t.value for t in study.get_trials(deepcopy=False) if t.value is not None]
    # Importances are shares of the variance of the values, which must not be zero.
    if len(planned.spaces) < 2 or len(values) < FEWEST or min(values) == max(values):
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=planned.metadata.seed)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: round(float(share), 6) for key, share in shares.items()}
