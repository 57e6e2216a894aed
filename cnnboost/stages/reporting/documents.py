"""The files of a recipe's reports folder, as they are read for a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cnnboost.documents import Document, read_document
from cnnboost.errors import StoreError
from cnnboost.report.page import FIGURE_ENDINGS
from cnnboost.report.sections import SHOW_IMAGES, OtherImages
from cnnboost.stages.job import Job

FORMAT = 1
"""Of the `metrics.json` that a page is made from."""


class Metrics(Document):
    """`metrics.json`, as far as every page needs it; what is deeper is looked at where it is shown."""

    format: int
    recipe: str
    classes: list[str]
    split: str
    images: dict[str, int]
    data_digest: str
    cnn: dict[str, Any] | None
    heads: list[dict[str, Any]]


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


def read_searches(job: Job) -> dict[str, dict[str, Any]]:
    """Read what `tune` found."""
    folder = job.reports_dir
    found = {}
    for path in [folder / "search.json", *sorted(folder.glob("study-*.json"))]:
        study = path.stem.removeprefix("study-") if path.stem != "search" else ""
        metadata = read_optional(path, command("tune", job) + (f" --study {study}" if study else ""))
        if metadata is not None:
            found[path.name] = metadata
    return found


def read_others(job: Job, pictures: bool) -> list[OtherImages]:
    """Read the scores on images that are not of the recipe's data."""
    again = f"{command('evaluate', job)} --data with those images"
    return [
        OtherImages(
            path.parent.name,
            read_metrics(path.parent, again),
            read_figures(path.parent / "figures", pictures),
        )
        for path in sorted(job.reports_dir.glob("other/*/metrics.json"))
    ]


def read_figures(folder: Path, pictures: bool) -> dict[str, bytes]:
    """Read the figures in a folder."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.glob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix.lower() in FIGURE_ENDINGS
        and (pictures or path.stem not in SHOW_IMAGES)
    }


def read_notes(folder: Path) -> str:
    """Read what a person wrote about the scores."""
    path = folder / "notes.txt"
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is no UTF-8 text; save it as such") from error


def command(name: str, job: Job) -> str:
    """Write a command of this recipe, for a message."""
    return f"cnnboost {name} -r {job.recipe.name}"


def said(error: Exception) -> str:
    """Say what a file lacks; a KeyError alone would only name the key."""
    return f"no {error}" if isinstance(error, KeyError) else str(error)
