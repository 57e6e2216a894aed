"""scores, audit, latency, figures -> one page that a person reads. Nothing is trained or measured here."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.cnn.model_file import read_model
from cnnboost.errors import DataError, StoreError
from cnnboost.evaluation.mistakes import Mistake, most_confident_mistakes
from cnnboost.evaluation.page import FIGURE_ENDINGS
from cnnboost.evaluation.published import Entry, overview_page
from cnnboost.evaluation.report import SHOW_IMAGES, Findings, report_page, warnings_of
from cnnboost.files import file_digest, read_json, write_bytes
from cnnboost.line.job import Job
from cnnboost.line.training import Trained
from cnnboost.recipe import Recipe

log = logging.getLogger("cnnboost")

FORMAT = 1
"""Of the `metrics.json` that a page is made from."""
SMOKE = "-smoke"
_MISTAKES = 12
_SAME = 0.01  # another machine's last bits may turn a few labels, never so many


@dataclass(frozen=True)
class Reported:
    """A page and where it was written.

    Attributes
    ----------
    path : Path
    recipes : list of str
        Those it shows.
    figures : list of str
        File names of the figures that were there for it.
    mistakes : int
        Pictures of mistakes.
    why_no_pictures : str or None
    warnings : list of str
        What the page warns of.
    """

    path: Path
    recipes: list[str]
    figures: list[str] = field(default_factory=list)
    mistakes: int = 0
    why_no_pictures: str | None = None
    warnings: list[str] = field(default_factory=list)


def report(job: Job, *, pictures: bool = True) -> Reported:
    """Write `index.html` of a recipe from the files that are there.

    Parameters
    ----------
    job : Job
    pictures : bool, default=True
        Show images of the data set: examples of each class where `inspect` has drawn them, and the most
        confident mistakes where the images and the trained CNN are at hand. Where they are not, the page
        says what is missing.

    Returns
    -------
    Reported

    Raises
    ------
    StoreError
        If there are no scores, or a file is damaged or of another version.
    CnnboostError
        If pictures are wanted and the images or the CNN are at fault.
    """
    folder = job.reports_dir
    metrics = _metrics(folder, _command("evaluate", job))
    if _changed(job.recipe, metrics):
        log.warning(
            "recipe %r was changed since it was scored, the page shows what was scored; %s scores it anew",
            job.recipe.name, _command("evaluate", job),
        )  # fmt: skip
    why_not = why_no_pictures(job) if pictures else "they were not asked for"
    mistakes: list[Mistake] = []
    if why_not is None:
        try:
            mistakes = _mistakes(job, metrics)
        except _NotTheSame as reason:
            why_not = str(reason)
            log.warning("no pictures of mistakes: %s", reason)
    findings = Findings(
        metrics=metrics,
        audit=_optional(folder / "audit.json", _command("inspect", job)),
        latency=_optional(folder / "latency.json", _command("bench", job)),
        repeats=_optional(folder / "repeats.json", f"cnnboost run {job.recipe.name} --repeats K"),
        figures=_figures(folder / "figures", pictures),
        notes=_notes(folder),
        mistakes=mistakes,
        why_no_pictures=why_not or "there are no mistakes",
    )
    try:
        page, warnings = report_page(findings), warnings_of(findings)
    except (DataError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(
            f"{folder}: its .json files are not what this version writes ({_said(error)}); run "
            f"{_command('evaluate', job)} again, and inspect and bench where their files are there"
        ) from error
    path = write_bytes(folder / "index.html", page.encode())
    return Reported(
        path,
        [metrics["recipe"]],
        list(findings.figures),
        len(mistakes),
        None if mistakes else findings.why_no_pictures,
        warnings,
    )


def report_all(reports: Path) -> Reported:
    """Write `index.html` over all recipes that have scores; smoke runs measure nothing and are left out.

    Parameters
    ----------
    reports : Path
        Folder of the recipes' folders.

    Returns
    -------
    Reported

    Raises
    ------
    StoreError
        If no recipe has scores, or the scores of one are damaged.
    """
    entries = []
    for path in sorted(reports.glob("*/metrics.json")):
        folder = path.parent
        if folder.name.endswith(SMOKE):
            continue
        metrics = _metrics(folder, f"cnnboost evaluate -r {folder.name}")
        link = f"{folder.name}/index.html"
        if not (reports / link).is_file():
            log.warning("%s has no page of its own yet: cnnboost report -r %s", folder, folder.name)
            link = ""
        try:
            # One by one, so that an error names its folder.
            overview_page([Entry(metrics)])
        except (DataError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreError(
                f"{path} is not what this version writes ({_said(error)}); run cnnboost evaluate -r "
                f"{folder.name} again"
            ) from error
        entries.append(Entry(metrics, link, _notes(folder)))
    if not entries:
        raise StoreError(
            f"{reports}: no recipe has scores here; cnnboost run RECIPE makes them, --reports names the "
            "folder"
        )
    path = write_bytes(reports / "index.html", overview_page(entries).encode())
    return Reported(path, [entry.metrics["recipe"] for entry in entries])


def why_no_pictures(job: Job) -> str | None:
    """Say what is missing for pictures of mistakes, before anything slow is imported.

    Parameters
    ----------
    job : Job

    Returns
    -------
    str or None
        None where images and a trained CNN are at hand.
    """
    try:
        _ = job.source
    except DataError:
        return "the images are not at hand (--data PATH names them)"
    record = read_json(job.models_dir / "history.json")
    path = job.models_dir / "cnn.keras"
    if record is None or not path.is_file():
        return f"the trained CNN is not at hand ({path})"
    return None


class _NotTheSame(Exception):
    """What is at hand is not what was scored."""


def _mistakes(job: Job, metrics: dict[str, Any]) -> list[Mistake]:
    """Ask the trained CNN once more, and take pictures of what it is surest of and wrong about."""
    path = job.models_dir / "cnn.keras"
    facts = read_json(job.models_dir / "history.json") or {}
    images = job.images
    if images.digest != metrics["data_digest"]:
        raise _NotTheSame(f"the images at {job.source} are others than those that were scored")
    if file_digest(path) != facts.get("model_sha256"):
        raise _NotTheSame(f"{path} was altered since it was trained")
    split = images[metrics["split"]]
    trained = Trained(read_model(path), facts["pixels"], tuple(facts["classes"]), path, facts, True)
    if trained.classes != tuple(metrics["classes"]):
        raise _NotTheSame(f"{path} knows other classes than those that were scored")
    proba = trained.cnn.predict_proba(split.X)
    confusion = np.zeros((len(trained.classes),) * 2, dtype=np.int64)
    np.add.at(confusion, (split.y, proba.argmax(axis=1)), 1)
    moved = np.abs(confusion - np.asarray(metrics["cnn"]["scores"]["confusion"])).sum() / 2
    if moved > _SAME * len(split):
        raise _NotTheSame(f"{path} is another CNN than the one that was scored; evaluate again")
    return [
        Mistake(
            png=_png(split.X[row]),
            place=str(split.ids[row]),
            truth=trained.classes[split.y[row]],
            said=trained.classes[int(proba[row].argmax())],
            probability=float(proba[row].max()),
        )
        for row in most_confident_mistakes(proba, split.y, _MISTAKES)
    ]


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()


def _metrics(folder: Path, command: str) -> dict[str, Any]:
    path = folder / "metrics.json"
    if not path.is_file():
        raise StoreError(f"{path}: there are no scores to report yet; run {command} first")
    metrics = read_json(path)
    if metrics is None:
        raise StoreError(f"{path} is damaged; run {command} again")
    if metrics.get("format") != FORMAT:
        raise StoreError(
            f"{path} has format {metrics.get('format')!r} and this version reads {FORMAT}; run {command} "
            "again"
        )
    return metrics


def _changed(recipe: Recipe, metrics: dict[str, Any]) -> bool:
    """Compare what decides about scores; keys that are newer than the scores stand at their default there."""
    from pydantic import ValidationError

    try:
        scored = Recipe.model_validate(metrics.get("recipe_facts"))
    except ValidationError:
        return True
    tables = ("data", "cnn", "boost")
    return scored.digest(*tables) != recipe.digest(*tables)


def _optional(path: Path, command: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    facts = read_json(path)
    if facts is None:
        raise StoreError(f"{path} is damaged; run {command} again, or remove it")
    return facts


def _figures(folder: Path, pictures: bool) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.glob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix.lower() in FIGURE_ENDINGS
        and (pictures or path.stem not in SHOW_IMAGES)
    }


def _notes(folder: Path) -> str:
    path = folder / "notes.txt"
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is no UTF-8 text; save it as such") from error


def _command(name: str, job: Job) -> str:
    return f"cnnboost {name} -r {job.recipe.name}"


def _said(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
