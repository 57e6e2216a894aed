"""Report: what was found about a recipe, as one page that explains itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from cnnboost.evaluation.mistakes import Mistake
from cnnboost.evaluation.page import FIGURE_ENDINGS, data_uri, paragraphs, percent, render, span
from cnnboost.evaluation.published import Beside, beside_published, head_name
from cnnboost.evaluation.run_facts import audit_rows, count_table, leaves, run_rows

# These show images of the data set itself.
SHOW_IMAGES = ("contact-sheet",)
_TITLES = {
    "class-distribution": "Images per class and split",
    "history": "Accuracy and loss over the epochs of the training",
    "latency": "Latency of a call against the images in it",
    "contact-sheet": "Examples of each class",
}
_STALE = 0.005  # accuracies that differ by more are not of the same model


@dataclass(frozen=True)
class Findings:
    """Everything that is known about one recipe.

    Attributes
    ----------
    metrics : dict
        What `metrics.json` holds.
    audit, latency, repeats : dict or None
        What `audit.json`, `latency.json` and `repeats.json` hold, where there are any.
    figures : mapping of str to bytes
        By file name.
    notes : str
        Plain text of a person, paragraphs parted by empty lines.
    mistakes : sequence of Mistake
    why_no_pictures : str
        Said in their place.
    """

    metrics: Mapping[str, Any]
    audit: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None
    repeats: Mapping[str, Any] | None = None
    figures: Mapping[str, bytes] = field(default_factory=dict)
    notes: str = ""
    mistakes: Sequence[Mistake] = ()
    why_no_pictures: str = "none were made"


def warnings_of(findings: Findings) -> list[str]:
    """Say what a reader of the scores has to know.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    list of str
    """
    metrics, audit, latency = findings.metrics, findings.audit, findings.latency
    found = []
    scored = [("The CNN", metrics["cnn"])]
    scored += [(f"The head {head_name(head)}", head) for head in metrics["heads"]]
    for name, row in scored:
        if collapsed := row.get("collapsed"):
            found.append(
                f"{name} calls {percent(collapsed['share'])} of the images {collapsed['class']}: it has "
                "learnt little more than the share of the classes."
            )
    if left_out := metrics["images_left_out"]:
        found.append(f"{left_out:,} images could not be read and were left out.")
    if audit is not None and audit["n_images"] != sum(metrics["images"].values()):
        found.append(
            f"The audit is of {audit['n_images']:,} images and the scores of a source with "
            f"{sum(metrics['images'].values()):,}: run cnnboost inspect again."
        )
    if audit is not None and (across := audit["duplicates"]["exact"]["groups_across_splits"]):
        found.append(
            f"{across:,} groups of identical images stand in more than one split: some of the images that "
            "were scored were trained on."
        )
    if latency is not None and _of_another_model(metrics, latency):
        found.append(
            "The latencies were measured with another model than the one that was scored: run cnnboost "
            "bench again."
        )
    return found


def _of_another_model(metrics: Mapping[str, Any], latency: Mapping[str, Any]) -> bool:
    if latency["split"] != metrics["split"]:
        return False
    own = metrics["cnn"]["scores"]["accuracy"]["value"]
    timed = [row["accuracy"] for row in latency["rows"] if row["path"] == "cnn/predict"]
    return any(abs(accuracy - own) > _STALE for accuracy in timed)


def report_page(findings: Findings) -> str:
    """Write the page of one recipe.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    str
        HTML that holds its figures and needs neither script nor network.

    Raises
    ------
    DataError, KeyError, TypeError
        If the facts are not what `evaluate`, `inspect` and `bench` write.
    """
    metrics = findings.metrics
    beside = beside_published(metrics)
    published = [row for row in beside if row.published is not None]
    figures = _figures(findings)
    return render(
        "report.html.j2",
        metrics=metrics,
        title=metrics["title"] or metrics["recipe"],
        summary=_summary(metrics),
        warnings=warnings_of(findings),
        level=percent(metrics["cnn"]["scores"]["confidence"]).replace(".0%", "%"),
        run_rows=run_rows(metrics),
        recipe_rows=leaves(metrics["recipe_facts"]),
        audit_rows=audit_rows(findings.audit),
        **count_table(findings.audit),
        **_scored(metrics, beside),
        published=published,
        outside=any(row.outside for row in published),
        notes=paragraphs(findings.notes),
        repeats=_repeats(findings.repeats),
        figures=[figure for figure in figures if figure["stem"] != "latency"],
        latency=_latency(findings.latency, [figure for figure in figures if figure["stem"] == "latency"]),
        pictures=[
            {
                "uri": data_uri(mistake.png, ".png"),
                "place": mistake.place,
                "truth": mistake.truth,
                "said": mistake.said,
                "probability": mistake.probability,
            }
            for mistake in findings.mistakes
        ],
        why_no_pictures=findings.why_no_pictures,
    )


def _summary(metrics: Mapping[str, Any]) -> str:
    scores = metrics["cnn"]["scores"]
    own = scores["accuracy"]
    text = (
        f"On {scores['n']:,} images of {metrics['split']} the CNN is right on {percent(own['value'])} "
        f"({span(own['interval'])})"
    )
    heads = metrics["heads"]
    if not heads:
        return f"{text}."
    best = max(heads, key=lambda head: head["scores"]["accuracy"]["value"])
    accuracy = best["scores"]["accuracy"]
    which = f"the highest of {len(heads)} boosted heads" if len(heads) > 1 else "the boosted head"
    return (
        f"{text}; {which}, at {best['layer']}, on {percent(accuracy['value'])} "
        f"({span(accuracy['interval'])}). {_sentence(best['against_cnn']['verdict'])}"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _scored(metrics: Mapping[str, Any], beside: Sequence[Beside]) -> dict[str, Any]:
    """Return the score table, with where the marks stand that show each accuracy."""
    marks = [row.own for row in beside] + [row.published for row in beside if row.published is not None]
    marks += [edge for row in beside for edge in row.interval or ()]
    room = 0.05 * (max(marks) - min(marks)) or 0.05
    low, high = max(0.0, min(marks) - room), min(1.0, max(marks) + room)

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = []
    for row, of in zip(beside, [metrics["cnn"], *metrics["heads"]], strict=True):
        left, right = row.interval or (row.own, row.own)
        rows.append(
            {
                "name": row.name,
                "scores": of["scores"],
                "fit_seconds": of["fit_seconds"],
                "bar": {
                    "left": at(left),
                    "width": round(at(right) - at(left), 2),
                    "own": at(row.own),
                    "theirs": None if row.published is None else at(row.published),
                },
            }
        )
    return {"scored": rows, "bars": {"low": low, "high": high}}


def _figures(findings: Findings) -> list[dict[str, str]]:
    """Return the figures in the order of the page; one of a head that is not scored is out of date."""
    matrices = {"confusion-cnn": "Confusion matrix of the CNN"} | {
        f"confusion-{head['layer'].replace('/', '.')}": f"Confusion matrix of {head_name(head)}"
        for head in findings.metrics["heads"]
    }
    titles = _TITLES | matrices
    order = ["class-distribution", "history", *matrices]
    found = []
    for name, content in findings.figures.items():
        stem, ending = PurePath(name).stem, PurePath(name).suffix.lower()
        if ending in FIGURE_ENDINGS and (stem in titles or not stem.startswith("confusion-")):
            title = titles.get(stem) or stem.replace("-", " ").replace("_", " ").capitalize()
            found.append({"stem": stem, "title": title, "uri": data_uri(content, ending)})
    last = len(order) + 1

    def place(figure: dict[str, str]) -> tuple[int, str]:
        stem = figure["stem"]
        rank = order.index(stem) if stem in order else last if stem in SHOW_IMAGES else last - 1
        return rank, stem

    return sorted(found, key=place)


def _repeats(repeats: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if repeats is None:
        return None
    seeds = ", ".join(str(run["seed"]) for run in repeats["runs"])
    rows = [{"name": "CNN softmax", **repeats["cnn"]}]
    rows += [{"name": head_name(head), **head} for head in repeats["heads"]]
    return {
        "text": (
            f"{repeats['repeats']} runs of the recipe, with seeds {seeds}, scored on {repeats['split']}. "
            "Standard deviation and variance are of a sample."
        ),
        "rows": rows,
    }


def _latency(latency: Mapping[str, Any] | None, figures: list[dict[str, str]]) -> dict[str, Any] | None:
    if latency is None:
        return None
    groups: dict[str, list[Any]] = {}
    for row in latency["rows"]:
        size = f"all {row['batch']:,} images" if row["all_images"] else f"batch {row['batch']:,}"
        groups.setdefault(size, []).append(row)
    machine = latency["machine"]
    threads = ", ".join(f"{name} {count}" for name, count in latency["threads"]["used"].items())
    text = f"{machine.get('model') or machine['processor']}, {machine['cores']} cores; threads: {threads}."
    busy = latency.get("cores_busy_for_others")
    if busy is not None:
        text += f" Other programs kept {busy:.1f} cores busy meanwhile."
    return {
        "layer": latency["layer"],
        "text": text,
        "groups": list(groups.items()),
        "starts": latency.get("starts") or [],
        "figures": figures,
    }
