"""scores, audit, latency, figures -> one page that a person reads. Nothing is trained or measured here."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.config import Recipe
from cnnboost.documents import Document, read_document
from cnnboost.errors import DataError, StoreError
from cnnboost.files import file_digest, write_bytes
from cnnboost.report.gains import GAINS_FIGURE, gains_section
from cnnboost.report.page import FIGURE_ENDINGS, SHOW_IMAGES, Section
from cnnboost.report.published import Entry, overview_page
from cnnboost.report.recipe_page import Findings, Mistake, report_page, warnings_of
from cnnboost.report.sections import OtherImages
from cnnboost.stages.job import Job
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.training import read_history, trained_from

FORMAT = 1
"""Of the `metrics.json` that a page is made from."""
SMOKE = "-smoke"
_MISTAKES = 12
_SAME = 0.01  # another machine's last bits may turn a few labels, never so many

log = logging.getLogger("cnnboost")


class Metrics(Document):
    """`metrics.json`, as far as every page needs it; deeper keys are checked where they are shown."""

    format: int
    recipe: str
    classes: list[str]
    split: str
    images: dict[str, int]
    data_digest: str
    cnn: dict[str, Any] | None
    heads: list[dict[str, Any]]


class NotTheSame(Exception):
    """The images or the CNN found here are not those that were scored."""


def report(job: Job, *, pictures: bool = True) -> Outcome:
    """Write `index.html` of a recipe from the files in its reports folder."""
    folder = job.reports_dir
    evaluate = job.command("evaluate")
    metrics = read_metrics(folder, evaluate)
    if _changed(job.recipe, metrics):
        log.warning(
            "recipe %r was changed since it was scored, the page shows what was scored; %s scores it again",
            job.recipe.name,
            evaluate,
        )
    why_not = why_no_pictures(job) if pictures else "they were not asked for"
    mistakes: list[Mistake] = []
    if why_not is None:
        try:
            mistakes = _mistakes(job, metrics)
        except NotTheSame as reason:
            why_not = str(reason)
            log.warning("no pictures of mistakes: %s", reason)
    findings = Findings(
        metrics=metrics,
        audit=read_optional(folder / "audit.json", job.command("inspect")),
        latency=read_optional(folder / "latency.json", job.command("bench")),
        repeats=read_optional(folder / "repeats.json", f"cnnboost run {job.recipe.name} --repeats K"),
        overfit=read_optional(folder / "overfit.json", f"{job.command('train')} --overfit N"),
        compared=read_optional(folder / "compare.json", job.command("compare")),
        searches=_read_searches(job),
        others=_read_others(job, pictures),
        figures=_read_figures(folder / "figures", pictures),
        notes=_read_notes(folder),
        mistakes=mistakes,
        why_no_pictures=why_not or "there are no mistakes",
        printed=published.printed if (published := job.recipe.evaluate.published) else (),
    )
    others = "the commands that wrote the others (inspect, bench, compare, tune, train --overfit)"
    with expecting(f"{folder}: its .json files are", f"run {evaluate} again, and {others}"):
        page, warnings = report_page(findings), warnings_of(findings)
    path = write_bytes(folder / "index.html", page.encode(errors="backslashreplace"))
    document = {
        "recipes": [metrics["recipe"]],
        "figures": list(findings.figures),
        "pictures_of_mistakes": len(mistakes),
        "why_no_pictures": None if mistakes else findings.why_no_pictures,
        "warnings": warnings,
    }
    return Outcome(document, path)


def report_all(reports: Path) -> Outcome:
    """Write `index.html` over all recipes that have scores; smoke runs measure nothing and are left out."""
    entries = []
    for path in sorted(reports.glob("*/metrics.json")):
        folder = path.parent
        if folder.name.endswith(SMOKE):
            continue
        evaluate = f"cnnboost evaluate -r {folder.name}"
        metrics = read_metrics(folder, evaluate)
        link = f"{folder.name}/index.html"
        if not (reports / link).is_file():
            log.warning("%s has no page of its own yet: cnnboost report -r %s", folder, folder.name)
            link = ""
        # One by one, so that an error names its folder.
        with expecting(f"{path} is", f"run {evaluate} again"):
            overview_page([Entry(metrics)])
        entries.append(Entry(metrics, link, _read_notes(folder)))
    if not entries:
        raise StoreError(
            f"{reports}: no recipe has scores here; cnnboost run RECIPE makes them, --reports names the "
            "folder"
        )
    page = overview_page(entries, _read_gains(reports))
    path = write_bytes(reports / "index.html", page.encode(errors="backslashreplace"))
    nothing = {"figures": [], "pictures_of_mistakes": 0, "why_no_pictures": None, "warnings": []}
    return Outcome({"recipes": [entry.metrics["recipe"] for entry in entries], **nothing}, path)


def _read_gains(reports: Path) -> list[Section]:
    """Return what heads gain over many networks, if that was put together."""
    path, figure = reports / "gains.json", reports / GAINS_FIGURE
    document = read_optional(path, "cnnboost compare --networks")
    if document is None:
        return []
    with expecting(f"{path}: it is", "run cnnboost compare --networks again, or remove the file"):
        return [gains_section(document, {GAINS_FIGURE: figure.read_bytes()} if figure.is_file() else {})]


def _changed(recipe: Recipe, metrics: dict[str, Any]) -> bool:
    """Compare what decides about scores; keys that are newer than the scores have their default there."""
    from pydantic import ValidationError

    try:
        scored = Recipe.model_validate(metrics.get("recipe_facts"))
    except ValidationError:
        return True
    tables = ("data", "cnn", "boost")
    return scored.digest(*tables) != recipe.digest(*tables)


def read_metrics(folder: Path, command: str) -> dict[str, Any]:
    """Read the scores."""
    path = folder / "metrics.json"
    if not path.is_file():
        raise StoreError(f"{path}: there are no scores to report yet; run {command} first")
    remedy = f"run {command} again"
    written = read_document(path, Document, remedy).get("format")
    if written != FORMAT:
        raise StoreError(f"{path} has format {written!r} and this version reads {FORMAT}; {remedy}")
    return read_document(path, Metrics, remedy)


def read_optional(path: Path, command: str) -> dict[str, Any] | None:
    """Read a document that need not be there."""
    if not path.is_file():
        return None
    return read_document(path, Document, f"run {command} again, or remove it")


def _read_searches(job: Job) -> dict[str, dict[str, Any]]:
    folder = job.reports_dir
    documents = {}
    for path in [folder / "search.json", *sorted(folder.glob("study-*.json"))]:
        study = path.stem.removeprefix("study-") if path.stem != "search" else ""
        metadata = read_optional(path, job.command("tune") + (f" --study {study}" if study else ""))
        if metadata is not None:
            documents[path.name] = metadata
    return documents


def _read_others(job: Job, pictures: bool) -> list[OtherImages]:
    again = f"{job.command('evaluate')} --data with those images"
    return [
        OtherImages(
            path.parent.name,
            read_metrics(path.parent, again),
            _read_figures(path.parent / "figures", pictures),
        )
        for path in sorted(job.reports_dir.glob("other/*/metrics.json"))
    ]


def _read_figures(folder: Path, pictures: bool) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.glob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix.lower() in FIGURE_ENDINGS
        and (pictures or path.stem not in SHOW_IMAGES)
    }


def _read_notes(folder: Path) -> str:
    path = folder / "notes.txt"
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not UTF-8 text; save it as such") from error


@contextmanager
def expecting(what: str, remedy: str) -> Iterator[None]:
    """Refuse documents that hold something else than this version writes."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        lacking = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{what} not what this version writes ({lacking}); {remedy}") from error


def why_no_pictures(job: Job) -> str | None:
    """Return what is missing for pictures of mistakes, before anything slow is imported."""
    try:
        _ = job.source
    except DataError:
        return "the images are not at hand (--data PATH names them)"
    record = read_history(job)
    path = job.models_dir / "cnn.keras"
    if record is None or not path.is_file():
        return f"the trained CNN is not at hand ({path})"
    return None


def _mistakes(job: Job, metrics: dict[str, Any]) -> list[Mistake]:
    """Predict with the trained CNN, and take pictures of its most confident mistakes."""
    path = job.models_dir / "cnn.keras"
    if metrics["cnn"] is None:
        raise NotTheSame("the network that was scored has no softmax of its own")
    metadata = read_history(job) or {}
    images = job.images
    if images.digest != metrics["data_digest"]:
        raise NotTheSame(f"the images at {job.source_shown} are others than those that were scored")
    if file_digest(path) != metadata.get("model_sha256"):
        raise NotTheSame(f"{path} changed on disk since it was trained")
    split = images[metrics["split"]]
    trained = trained_from(path, metadata)
    if trained.classes != tuple(metrics["classes"]):
        raise NotTheSame(f"{path} knows other classes than those that were scored")
    proba = trained.cnn.predict_proba(split.X)
    confusion = np.zeros((len(trained.classes),) * 2, dtype=np.int64)
    np.add.at(confusion, (split.y, proba.argmax(axis=1)), 1)
    moved = np.abs(confusion - np.asarray(metrics["cnn"]["scores"]["confusion"])).sum() / 2
    if moved > _SAME * len(split):
        raise NotTheSame(f"{path} is another CNN than the one that was scored; evaluate again")
    return [
        Mistake(
            png=_png(split.X[row]),
            place=str(split.ids[row]),
            truth=trained.classes[split.y[row]],
            predicted=trained.classes[int(proba[row].argmax())],
            probability=float(proba[row].max()),
        )
        for row in most_confident_mistakes(proba, split.y, _MISTAKES)
    ]


def most_confident_mistakes(proba: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
    """Find the rows with the highest probability for a wrong class."""
    predicted = proba.argmax(axis=1)
    wrong = np.flatnonzero(predicted != y)
    order = np.argsort(-proba[wrong, predicted[wrong]], kind="stable")
    return wrong[order][:count]


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
