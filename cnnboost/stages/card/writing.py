"""The card itself: a template, filled with metadata and text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cnnboost.deploy.bundle import Bundle
from cnnboost.errors import StoreError
from cnnboost.escape import visible
from cnnboost.files import write_bytes
from cnnboost.stages.card.card_text import CardText
from cnnboost.stages.card.documents import read_documents
from cnnboost.stages.card.making import making_metadata
from cnnboost.stages.card.scores import score_metadata
from cnnboost.stages.job import Job
from cnnboost.stages.reporting.documents import command, said

if TYPE_CHECKING:
    from jinja2 import Template

FILE = "README.md"


@dataclass(frozen=True)
class Card:
    """A model card and where it was written."""

    path: Path
    text: str
    bundle: Bundle


def write_card(job: Job, words: CardText) -> Card:
    """Write the model card of a recipe's bundle beside it, from files that commands made."""
    try:
        documents = read_documents(job)
        metadata = {**making_metadata(job.recipe, documents), **score_metadata(documents)}
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(
            f"the .json files in {job.models_dir} and {job.reports_dir} are not what this version writes "
            f"({said(error)}); run {command('export', job)}, {command('evaluate', job)} and, where they are "
            "there, compare and inspect again"
        ) from error
    text = _template().render(words=asdict(words), **metadata)
    return Card(
        write_bytes(documents.bundle.folder / FILE, text.encode(errors="backslashreplace")),
        text,
        documents.bundle,
    )


@cache
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cnnboost.stages.card"),
        autoescape=False,  # Markdown, from our own files
        finalize=lambda value: visible(value, keep="\n\t") if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("card.md.j2")
