"""Sections on more than one evaluation: modes, other images, repeated runs, latency; and the figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from statistics import fmean
from typing import Any, NamedTuple

from markupsafe import Markup

from cnnboost.files import file_part
from cnnboost.report.page import (
    FIGURE_ENDINGS,
    Block,
    Figure,
    Section,
    contents_of,
    details,
    figure,
    named_figures,
    table,
)
from cnnboost.report.scores import SCORE_COLUMNS, classifiers, published_accuracies, scores_table
from cnnboost.report.table import Cell, Column, Group, Table, columns_of, percent

MODES_FIGURE = "compare.png"
SHOW_IMAGES = ("contact-sheet",)
"""Figures that show images of the data set itself."""
# Stem -> group and title, in the order of the page.
_FIGURES = {
    "class-distribution": ("Data and training", "Images per class and split"),
    "history": ("Data and training", "Accuracy and loss over the epochs of the training"),
    "confusion-": ("Confusion matrices", ""),
    "class-accuracy": ("Class by class", "Share of each class that is recognised, CNN beside hybrid"),
    "roc": ("Class by class", "Receiver operating characteristic, one class against the rest"),
    "precision-recall": ("Thresholds", "Precision against recall over all thresholds"),
    "threshold-sweep": ("Thresholds", "Scores at each threshold"),
    "latency": ("Latency", "Latency of a call against the images in it"),
    "": ("Others", ""),
    "contact-sheet": ("Others", "Examples of each class"),
}


class OtherImages(NamedTuple):
    """Scores on images that the recipe is not about."""

    name: str
    metrics: Mapping[str, Any]
    figures: Mapping[str, bytes] = {}


def known_figures(
    figures: Mapping[str, bytes], metrics: Mapping[str, Any], elsewhere: Collection[str] = ()
) -> dict[str, list[Figure]]:
    """Return figures by group; a confusion matrix of a head that is not scored is out of date."""
    matrices = {
        f"confusion-{file_part(key or 'cnn')}": f"Confusion matrix of {title if key else 'the CNN'}"
        for key, title, _ in classifiers(metrics)
    }
    kinds, order = list(_FIGURES), list(matrices)
    placed = []
    for name, content in figures.items():
        stem, ending = PurePath(name).stem, PurePath(name).suffix.lower()
        is_matrix = stem.startswith("confusion-")
        if name in elsewhere or ending not in FIGURE_ENDINGS or (is_matrix and stem not in matrices):
            continue
        kind = "confusion-" if is_matrix else stem if stem in _FIGURES else ""
        group, title = _FIGURES[kind]
        title = title or matrices.get(stem) or stem.replace("-", " ").replace("_", " ").capitalize()
        place = kinds.index(kind), order.index(stem) if is_matrix else 0, stem
        placed.append((place, group, figure(name, title, content)))
    groups: dict[str, list[Figure]] = {}
    for _, group, drawn in sorted(placed, key=lambda entry: entry[0]):
        groups.setdefault(group, []).append(drawn)
    return groups


def figures_section(groups: Mapping[str, Sequence[Figure]]) -> Section | None:
    """Return the figures that belong to no other section."""
    if not groups:
        return None
    blocks: list[Block] = []
    for group, drawn in groups.items():
        blocks += [*([("heading", group)] if len(groups) > 1 else []), ("figures", drawn)]
    return Section("figures", "Figures", "Figures", blocks)


def modes_text(compared: Mapping[str, Any]) -> str:
    """Return what was compared, and on which images."""
    runs, networks = len(compared["runs"]), compared["compare"]["networks"]
    views = {"none": "the image itself"}.get(compared["hybrid"]["tta"], compared["hybrid"]["tta"])
    return (
        f"{compared['n']:,} images of {compared['split']}, {runs} seed{'s' * (runs > 1)}, {networks} "
        f"trained network{'s' * (networks > 1)}; layers {', '.join(compared['layers'])}; views at test time: "
        f"{views}. Trees grown on {compared['grown_on']}. Temperature, rounds and weight of each image's "
        f"head were chosen on {compared['chosen_on']}."
    )


def modes_table(compared: Mapping[str, Any]) -> Table:
    """Return the hybrid in every mode beside its softmax: means over the seeds."""
    runs = compared["runs"]
    kinds = {"classifier": "text", "accuracy": "percent2", "difference, points": "points", "median p": "p"}
    kinds |= {"log-loss": "number", "change": "number", "calibration error": "number"}
    rows: list[list[Any]] = []
    for name, key in (("softmax", "softmax"), ("calibrated softmax", "calibrated")):
        accuracy, log_loss, calibration = (
            fmean(run[key]["scores"][score]["value"] for run in runs)
            for score in ("accuracy", "log_loss", "calibration_error")
        )
        rows.append([name, accuracy, None, None, log_loss, None, calibration])
    for mode, row in compared["summary"].items():
        spread = (row["lowest_difference"], row["highest_difference"])
        difference = {"value": row["difference"], "interval": spread}
        losses = row["log_loss"], row["log_loss_difference"]
        calibration = fmean(run["modes"][mode]["scores"]["calibration_error"]["value"] for run in runs)
        rows.append([mode, row["accuracy"], difference, row["median_p_value"], *losses, calibration])
    return Table("Hybrid in every mode", columns_of(kinds), rows)


def modes_section(compared: Mapping[str, Any] | None, figures: Mapping[str, bytes]) -> Section | None:
    """Return the hybrid in every mode against its softmax."""
    if compared is None:
        return None
    with contents_of("compare.json"):
        explanation = (
            f"{modes_text(compared)} Difference: accuracy minus the softmax's, and the lowest and highest "
            "over the seeds. p: McNemar's exact p. Change of the log-loss: against the calibrated softmax."
        )
        blocks: list[Block] = [
            ("items", [row["verdict"] for row in compared["summary"].values()]),
            ("faint", explanation),
            table(modes_table(compared)),
        ]
    named = [{"file": MODES_FIGURE, "title": "Differences to the softmax, seed by seed"}]
    blocks.append(("figures", named_figures(figures, named)))
    return Section("modes", "Modes", "Hybrid in every mode, against its softmax", blocks)


def other_images_section(
    others: Sequence[OtherImages], metrics: Mapping[str, Any], level: str
) -> Section | None:
    """Return what each classifier is worth on other images."""
    if not others:
        return None
    own = {name: of["scores"]["accuracy"]["value"] for _, name, of in classifiers(metrics)}
    columns = {"n": Column("images", "count")}
    columns |= {name: SCORE_COLUMNS[name] for name in ("accuracy", "macro_f1", "average_class_accuracy")}
    columns["own"] = Column(f"on {metrics['split']}", "percent")
    rows: list[Any] = []
    blocks: list[Block] = []
    for other in others:
        with contents_of(f"other/{other.name}/metrics.json"):
            source = other.metrics.get("source_name") or other.name
            named = [(name, {**of, "own": own.get(name)}) for _, name, of in classifiers(other.metrics)]
            made = scores_table("On other images", named, columns)
            rows += [Group(Cell(source)), *made.rows]
            for name, of in named:
                if collapsed := of.get("collapsed"):
                    share = percent(collapsed["share"])
                    blocks.append(("warn", f"{source}: {name} calls {share} of them {collapsed['class']}."))
            groups = known_figures(other.figures, other.metrics)
            if drawn := [one for group in groups.values() for one in group]:
                blocks.append(details(f"Figures of {source}", ("figures", drawn)))
    text = (
        "The same CNN and heads, not trained again, on images that are not of the recipe's data; below "
        f"each score its {level} interval. Last column: their accuracy on {metrics['split']}, from the table "
        "above."
    )
    made = Table(made.label, made.columns, rows)
    return Section("others", "Other images", "On other images", [("faint", text), table(made), *blocks])


_SPREAD = {
    "mean": Column("mean", "percent2"),
    "std": Column("standard deviation", "percent2"),
    "variance": Column("variance", "figures"),
    "min": Column("lowest", "percent2"),
    "max": Column("highest", "percent2"),
}


def repeats_tables(repeats: Mapping[str, Any]) -> tuple[Table, dict[str, Table]]:
    """Return how far accuracies of repeated runs lie apart, and the scores of each class by classifier."""
    columns, published = list(_SPREAD.values()), published_accuracies(repeats)
    rows, by_class = [], {}
    for key, name, of in classifiers(repeats):
        rows.append([name, *(of["accuracy"][column] for column in _SPREAD), published.get(key)])
        scores = [
            [row["name"] if score == "precision" else "", title, *(row[score][column] for column in _SPREAD)]
            for row in of["per_class"]
            for score, title in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
        ]
        label = f"Classes over repeated runs, {name}"
        by_class[name] = Table(label, [Column("class"), Column("score"), *columns], scores)
    of_accuracy = [Column("classifier"), *columns, Column("published", "percent2")]
    if not repeats.get("published"):
        rows, of_accuracy = [row[:-1] for row in rows], of_accuracy[:-1]
    return Table("Accuracy over repeated runs", of_accuracy, rows), by_class


def repeats_section(repeats: Mapping[str, Any] | None) -> Section | None:
    """Return how far scores of repeated runs lie apart."""
    if repeats is None:
        return None
    with contents_of("repeats.json"):
        seeds = ", ".join(str(run["seed"]) for run in repeats["runs"])
        text = (
            f"{repeats['repeats']} runs of the recipe, with seeds {seeds}, scored on {repeats['split']}. "
            "Standard deviation and variance are of a sample."
        )
        accuracy, by_class = repeats_tables(repeats)
    tables = [details(f"{name}, class by class", table(made)) for name, made in by_class.items()]
    blocks = [("faint", text), table(accuracy), *tables]
    return Section("repeats", "Repeated runs", "Repeated runs", blocks)


def latency_section(latency: Mapping[str, Any] | None, figures: Sequence[Figure]) -> Section | None:
    """Return how long calls take, by the images in a call."""
    if latency is None:
        return None
    kinds = {"path": "text", "p50, ms": "figures", "p95, ms": "figures", "p99, ms": "figures"}
    kinds |= {"images/s": "figures", "times faster": "figures", "than": "text", "accuracy": "percent"}
    keys = ("p50_ms", "p95_ms", "p99_ms", "images_per_s", "ratio", "ratio_to", "accuracy")
    with contents_of("latency.json"):
        groups: dict[str, list[Any]] = {}
        for row in latency["rows"]:
            size = f"all {row['batch']:,} images" if row["all_images"] else f"batch {row['batch']:,}"
            path = Cell(row["path"], "head only" if row["measured"] == "head only" else "")
            groups.setdefault(size, []).append([path, *(row[key] for key in keys)])
        rows = [row for size, of in groups.items() for row in (Group(Cell(size)), *of)]
        text = Markup(
            "From raw images in memory to probabilities; rows marked <b>head only</b> start from ready "
            "features and leave the network out. {}"
        ).format(_machine(latency))
        blocks: list[Block] = [("faint", text), table(Table("Latency", columns_of(kinds), rows))]
        if starts := latency.get("starts"):
            blocks += [("heading", "Fresh process"), table(_starts(starts))]
        heading = f"Latency at {latency['layer']}"
    return Section("latency", "Latency", heading, [*blocks, ("figures", figures)])


def _machine(latency: Mapping[str, Any]) -> str:
    machine, busy = latency["machine"], latency.get("cores_busy_for_others")
    threads = ", ".join(f"{name} {count}" for name, count in latency["threads"]["used"].items())
    text = f"{machine.get('model') or machine['processor']}, {machine['cores']} cores; threads: {threads}."
    if busy is None:
        return text
    return f"{text} Other programs kept {busy:.1f} cores busy meanwhile."


def _starts(starts: Sequence[Mapping[str, Any]]) -> Table:
    kinds = {"program": "text", "until": "text", "runs": "count"}
    kinds |= {"median, s": "number", "lowest, s": "number", "highest, s": "number"}
    keys = ("what", "until", "runs", "p50_s", "lowest_s", "highest_s")
    return Table("Fresh process", columns_of(kinds), [[row[key] for key in keys] for row in starts])
