"""Whether the network could learn a few images by heart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnboost.report.page import percent
from cnnboost.report.sections.findings import facts_of

_FILE = "overfit.json"


def overfit_section(overfit: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Say whether the network can learn at all."""
    if overfit is None:
        return None
    with facts_of(_FILE):
        n, history, accuracy = overfit["images"], overfit["history"], overfit["accuracy"]
        took = f"{overfit['epochs']:,} epochs, {overfit['steps']:,} steps of the optimiser"
        if overfit["learnt"]:
            text = f"It can: after {took}, it knows all of {n:,} images."
        elif overfit["failure"]:
            text = f"It cannot: training on {n:,} images broke off after {took}."
        else:
            text = f"It cannot: after {took}, it knows {percent(accuracy)} of {n:,} images."
        rows = [
            ("Images", ", ".join(f"{count:,} {name}" for name, count in overfit["classes"].items())),
            ("Accuracy on them", "none" if accuracy is None else percent(accuracy)),
            ("Steps", f"{overfit['steps']:,} of at most {overfit['steps_at_most']:,}"),
        ]
        for name, form in (("loss", "{:.4g}"), ("accuracy", "{:.1%}")):
            if values := history[name]:
                first, last = form.format(values[0]), form.format(values[-1])
                rows.append(
                    (f"Course of the {name}", f"{first} after the first epoch, {last} after the last")
                )
        if overfit["failure"]:
            rows.append(("Why it broke off", overfit["failure"]))
        rows.append(("Switched off", ", ".join(overfit["switched_off"]) or "nothing"))
        rows.append(("Seed", str(overfit["seed"])))
        return {
            "text": text,
            "learnt": overfit["learnt"],
            "rows": rows,
            "symptoms": list(overfit["symptoms"]),
        }
