"""images -> audit: what is in the data, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnnboost.files import write_json
from cnnboost.images.audit import audit
from cnnboost.report.plots import plot_class_distribution, plot_contact_sheet, save_figure
from cnnboost.stages.job import Job
from cnnboost.stages.outcome import Outcome

PER_CLASS = 12


def inspect(job: Job) -> Outcome:
    """Audit the images and draw their class distribution and a contact sheet."""
    images = job.images
    with job.progress("audit", "image") as report:
        found = audit(images)
        report(len(images), len(images))
    # A report may be published: it names the source, not the folders around it.
    metadata = {
        "recipe": job.recipe.name,
        "data_digest": images.digest,
        **found,
        "source": Path(images.source).name,
    }
    path = write_json(job.reports_dir / "audit.json", metadata)
    folder = job.reports_dir / "figures"
    distribution = save_figure(plot_class_distribution(found["counts"]), folder / "class-distribution.png")
    rng = np.random.default_rng(job.recipe.data.seed)
    rows = []
    for code in range(len(images.classes)):
        mine = np.flatnonzero(images.y == code)
        rows.append(np.sort(rng.choice(mine, size=min(PER_CLASS, len(mine)), replace=False)))
    chosen = images.select(np.concatenate(rows))
    labels = np.asarray(images.classes)[chosen.y]
    sheet = save_figure(plot_contact_sheet(chosen.X, labels), folder / "contact-sheet.png")
    return Outcome(metadata, path, [distribution, sheet])
