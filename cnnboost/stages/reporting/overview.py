"""The page over all recipes that have scores."""

from __future__ import annotations

import logging
from pathlib import Path

from cnnboost.errors import DataError, StoreError
from cnnboost.files import write_bytes
from cnnboost.report.published import Entry, overview_page
from cnnboost.stages.reporting.documents import read_metrics, read_notes, said
from cnnboost.stages.reporting.reported import Reported

log = logging.getLogger("cnnboost")

SMOKE = "-smoke"


def report_all(reports: Path) -> Reported:
    """Write `index.html` over all recipes that have scores; smoke runs measure nothing and are left out."""
    entries = []
    for path in sorted(reports.glob("*/metrics.json")):
        folder = path.parent
        if folder.name.endswith(SMOKE):
            continue
        metrics = read_metrics(folder, f"cnnboost evaluate -r {folder.name}")
        link = f"{folder.name}/index.html"
        if not (reports / link).is_file():
            log.warning("%s has no page of its own yet: cnnboost report -r %s", folder, folder.name)
            link = ""
        try:
            # One by one, so that an error names its folder.
            overview_page([Entry(metrics)])
        except (DataError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreError(
                f"{path} is not what this version writes ({said(error)}); run cnnboost evaluate -r "
                f"{folder.name} again"
            ) from error
        entries.append(Entry(metrics, link, read_notes(folder)))
    if not entries:
        raise StoreError(
            f"{reports}: no recipe has scores here; cnnboost run RECIPE makes them, --reports names the "
            "folder"
        )
    path = write_bytes(reports / "index.html", overview_page(entries).encode(errors="backslashreplace"))
    return Reported(path, [entry.metrics["recipe"] for entry in entries])
