"""Document: what a search found, as a JSON file and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnboost.files import write_json
from cnnboost.report.plots import save_figure
from cnnboost.report.search_plots import search_figures
from cnnboost.search.plan import Plan, decoded
from cnnboost.stages import Job
from cnnboost.stages.provenance import machine, versions

FORMAT = 1

#: Below this many trials with a value, importances would be noise.
FEWEST = 4


@dataclass(frozen=True)
class Found:
    """What a search found."""

    document: dict[str, Any]
    path: Path
    figures: tuple[Path, ...] = ()


def tried(trial: Any) -> bool:
    """Tell whether a trial came to an end of its own: with a value, or with an error."""
    return trial.value is not None or "error" in trial.user_attrs


class Writer:
    """Writes the document of one search."""

    def __init__(self, job: Job, planned: Plan, inner: Job, study: Any) -> None:
        self._job, self._planned, self._inner, self._study = job, planned, inner, study
        self._surroundings = {
            "recipe_facts": job.recipe.model_dump(mode="json"),
            "machine": machine(),
            "versions": versions(),
        }
        self.path = job.reports_dir / f"{planned.stem}.json"

    def write(self) -> dict[str, Any]:
        """Write what there is so far; importances and figures wait for the end."""
        document = self._document()
        write_json(self.path, document)
        return document

    def finish(self) -> Found:
        """Write all of it."""
        document = self._document()
        document["importances"] = self._importances()
        folder = self._job.reports_dir / "figures"
        paths = []
        for kind, (title, figure) in search_figures(document).items():
            path = save_figure(figure, folder / f"{self._planned.stem}-{kind}.png")
            document["figures"].append({"file": path.name, "title": title})
            paths.append(path)
        return Found(document, write_json(self.path, document), tuple(paths))

    def _document(self) -> dict[str, Any]:
        metadata, recipe, images = self._planned.metadata, self._job.recipe, self._inner.images
        trials = [self._trial(trial) for trial in self._study.get_trials(deepcopy=False) if tried(trial)]
        part = "train" if metadata.part == 1 else f"{metadata.part:.0%} of train"
        return {
            "format": FORMAT,
            "recipe": recipe.name,
            "study": self._planned.study,
            "title": metadata.title or recipe.title,
            "target": metadata.target,
            "metric": metadata.metric,
            "sampler": metadata.sampler,
            "stages": metadata.stages,
            "seed": metadata.seed,
            "set": dict(metadata.set),
            "space": {
                key: space.model_dump(mode="json", exclude_none=True)
                for key, space in self._planned.spaces.items()
            },
            "part": metadata.part,
            "fraction": metadata.fraction,
            "judged_on": f"{metadata.fraction:.0%} of {part}",
            "confidence": recipe.evaluate.confidence,
            "images": {name: len(images[name]) for name in images.split_names},
            "wanted": self._planned.wanted,
            "best": self._best(trials),
            "trials": trials,
            "importances": None,
            "figures": [],
            **self._surroundings,
        }

    def _trial(self, trial: Any) -> dict[str, Any]:
        noted = trial.user_attrs
        return {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "interval": noted.get("interval"),
            "values": decoded(self._planned.spaces, trial.params),
            "seconds": noted.get("seconds"),
            "error": noted.get("error"),
            "history": noted.get("history"),
        }

    def _best(self, trials: list[dict[str, Any]]) -> dict[str, Any] | None:
        ended = [trial for trial in trials if trial["value"] is not None]
        if not ended:
            return None
        better = min if self._planned.metadata.metric == "log_loss" else max
        best = better(ended, key=lambda trial: trial["value"])
        return {key: best[key] for key in ("value", "interval", "values", "number")}

    def _importances(self) -> dict[str, float] | None:
        """Return the share of each key in the spread of the values: fANOVA [1]_."""
        import optuna

        values = [t.value for t in self._study.get_trials(deepcopy=False) if t.value is not None]
        # Where all values are the same there is no spread to share out.
        if len(self._planned.spaces) < 2 or len(values) < FEWEST or min(values) == max(values):
            return None
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._planned.metadata.seed)
        found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {key: round(float(share), 6) for key, share in found.items()}
