"""What a comparison found: heads against the softmax, also by the images that they are fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cnnboost.escape import counted
from cnnboost.report.page import Block, Section, named_figures, table
from cnnboost.report.table import Cell, Group, Table, columns_of, head_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODES_FIGURE, ROWS_FIGURE = "compare.png", "rows.png"


def modes_text(compared: Mapping[str, Any]) -> str:
    """Return what was compared, and on which images."""
    runs, members = len(compared["runs"]), compared.get("members", 1)
    networks = max(members, compared["compare"]["networks"])
    averaged = " Softmaxes and heads are means over them." if members > 1 else ""
    views = {"none": "the image itself"}.get(compared["hybrid"]["tta"], compared["hybrid"]["tta"])
    return (
        f"{counted(compared['n'], 'image')} of {compared['split']}, {counted(runs, 'seed')}, "
        f"{counted(networks, 'trained network')}; layers {', '.join(compared['layers'])}; views at test "
        f"time: {views}. Heads fitted on {compared['grown_on']}. Temperature, rounds, weight and other "
        f"settings of each image's head were chosen on {compared['chosen_on']}.{averaged}"
    )


def modes_table(compared: Mapping[str, Any]) -> Table:
    """Return the heads beside the softmax of their network: means over the seeds."""
    runs, linear = compared["runs"], compared.get("best_linear")
    kinds = {"classifier": "text", "accuracy": "percent2", "difference, points": "points", "median p": "p"}
    if linear is not None:
        kinds |= {f"against {head_title(linear)}, points": "points", "its median p": "p"}
    kinds |= {"log-loss": "number", "change": "number", "calibration error": "number"}
    rows: list[list[Any]] = []
    for name, key in (("softmax", "softmax"), ("calibrated softmax", "calibrated")):
        accuracy, log_loss, calibration = (
            fmean(run[key]["scores"][score]["value"] for run in runs)
            for score in ("accuracy", "log_loss", "calibration_error")
        )
        missing = [None] * (2 if linear is None else 4)
        rows.append([name, accuracy, *missing, log_loss, None, calibration])
    for head, row in compared["summary"].items():
        kind = "modes" if head in runs[0]["modes"] else "heads"
        calibration = fmean(run[kind][head]["scores"]["calibration_error"]["value"] for run in runs)
        losses = row["log_loss"], row["log_loss_difference"]
        cells = [head_title(head), row["accuracy"], *_differences(row, linear), *losses]
        rows.append([*cells, calibration])
    return Table("Heads against the softmax", columns_of(kinds), rows)


def _differences(row: Mapping[str, Any], linear: str | None) -> list[Any]:
    """Return the cells of the differences to the softmax and, if there is one, to the best linear head."""
    cells: list[Any] = []
    for of in (row,) if linear is None else (row, row.get("against_linear")):
        if of is None:
            cells += [None, None]
        else:
            spread = (of["lowest_difference"], of["highest_difference"])
            cells += [{"value": of["difference"], "interval": spread}, of["median_p_value"]]
    return cells


def verdicts_of(compared: Mapping[str, Any]) -> list[str]:
    """Return what is said of each head against the softmax, and of trees against the best linear head."""
    summary, modes = compared["summary"], compared["runs"][0]["modes"]
    against = [
        summary[mode]["against_linear"]["verdict"] for mode in modes if "against_linear" in summary[mode]
    ]
    return [*(row["verdict"] for row in summary.values()), *against]


def modes_section(compared: Mapping[str, Any], figures: Mapping[str, bytes]) -> Section:
    """Return the trees in every mode and the other heads against the softmax."""
    explanation = (
        f"{modes_text(compared)} Difference: accuracy minus the softmax's, and the lowest and highest "
        "over the seeds. p: McNemar's exact p. Change of the log-loss: against the calibrated softmax."
    )
    if compared.get("best_linear") is not None:
        explanation += (
            " Other heads see what trees see, and where they are not fitted on train the log-probabilities "
            "beside the features; vector scaling sees the log-probabilities alone, of images that the "
            f"network has not seen. {compared['best_linear']} has the lowest log-loss of the linear heads on "
            "these same images, which favours it a little."
        )
    blocks: list[Block] = [
        ("items", verdicts_of(compared)),
        ("faint", explanation),
        table(modes_table(compared)),
    ]
    named = [{"file": MODES_FIGURE, "title": "Differences to the softmax, seed by seed"}]
    blocks.append(("figures", named_figures(figures, named)))
    return Section("modes", "Heads", "Trees in every mode and other heads, against the softmax", blocks)


def plot_modes(document: Mapping[str, Any]) -> Figure:
    """Draw the differences of accuracy and log-loss between each head and the softmax, seed by seed."""
    from matplotlib.ticker import MaxNLocator

    from cnnboost.report.plots import COLOURS, name_rows, new_figure

    runs, heads = document["runs"], list(document["summary"])
    kinds = dict.fromkeys(runs[0]["modes"], "trees of XGBoost")
    for head, row in runs[0].get("heads", {}).items():
        kinds[head] = "linear" if row["linear"] else "others"
    colours = dict(zip(dict.fromkeys(kinds.values()), COLOURS, strict=False))
    images, seeds = counted(document["n"], "image"), counted(len(runs), "seed")
    title = f"Heads against the network's own softmax, {document['split']}, {images}, {seeds}"
    figure = new_figure(9.2, 1.7 + 0.13 * len(heads) * (len(runs) + 1), title)
    left, right = figure.subplots(1, 2, sharey=True)
    step = 0.8 / len(runs)
    for place, head in enumerate(heads):
        colour = colours[kinds[head]]
        for i, run in enumerate(runs):
            row = run["modes"][head] if head in run["modes"] else run["heads"][head]
            y = place + (i - (len(runs) - 1) / 2) * step
            against = row["against_softmax"]
            middle = 100 * against["difference"]
            low, high = (100 * edge for edge in against["difference_interval"])
            left.errorbar(
                middle, y, xerr=[[middle - low], [high - middle]], fmt="o", color=colour, capsize=2, ms=4
            )
            right.plot(row["log_loss_difference"], y, "s", color=colour, ms=4)
    for axes in (left, right):
        axes.axvline(0, color="0.4", linewidth=1, linestyle="--")
        name_rows(axes, [head_title(head) for head in heads])
    left.set_xlabel(
        f"accuracy minus the softmax's, percentage points\n(bars: {document['confidence']:.0%} interval)"
    )
    right.set_xlabel("log-loss minus the calibrated softmax's, nats\n(to the left is better)")
    left.set_title("Accuracy")
    right.set_title("Log-loss")
    right.margins(x=0.15)
    right.xaxis.set_major_locator(MaxNLocator(5))
    if len(colours) > 1:
        marks = [right.plot([], [], "s", color=colour, label=kind)[0] for kind, colour in colours.items()]
        figure.legend(handles=marks, loc="outside lower center", ncol=len(marks))
    return figure


def plot_rows(compared: Mapping[str, Any]) -> Figure:
    """Draw the gain of each head over the softmax against the images for a head, on a logarithmic axis."""
    from cnnboost.report.plots import COLOURS, new_figure, open_frame

    points, modes = compared["curve"]["points"], compared["runs"][0]["modes"]
    sizes, draws = [point["n"] for point in points], len(compared["runs"])
    title = f"Gain by images for a head, {compared['split']}, {compared['n']:,} images"
    figure = new_figure(9.2, 4.4, title)
    left, right = figure.subplots(1, 2)
    heads = list(points[0]["heads"])
    for place, head in enumerate(heads):
        rows = [point["heads"][head] for point in points]
        style = {"color": COLOURS[place % len(COLOURS)], "marker": "o" if head in modes else "s", "ms": 4}
        style |= {"linestyle": "-" if head in modes else "--", "label": head_title(head)}
        gain = [100 * row["difference"] for row in rows]
        edges = [
            [abs(100 * _edge(row, edge) - middle) for row, middle in zip(rows, gain, strict=True)]
            for edge in (0, 1)
        ]
        # Side by side, so that no bar hides another.
        shifted = [n * 1.03 ** (place - (len(heads) - 1) / 2) for n in sizes]
        left.errorbar(shifted, gain, yerr=edges, capsize=2, **style)
        right.plot(sizes, [-row["log_loss_difference"] for row in rows], **style)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.set_xticks([], minor=True)
        axes.axhline(0, color="0.4", linewidth=1, linestyle="--")
        axes.set_xlabel("images for each head")
        open_frame(axes, grid="both")
    shown = f"mean of {draws} draws" if draws > 1 else "1 draw"
    left.set_ylabel("accuracy gained, points")
    left.set_title(
        f"against the softmax\n(bars: {compared['confidence']:.0%} interval, {shown})", fontsize=10
    )
    right.set_ylabel("log-loss saved, nats")
    right.set_title("against the calibrated softmax", fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncol=min(4, len(labels)))
    return figure


def _edge(row: Mapping[str, Any], edge: int) -> float:
    """Return the lower (0) or upper (1) end of the interval of a difference, the mean over the draws."""
    return fmean(draw["against_softmax"]["difference_interval"][edge] for draw in row["draws"])


def rows_table(compared: Mapping[str, Any], points: Sequence[Mapping[str, Any]] | None = None) -> Table:
    """Return what each head gains, fitted on so many images, at all points or some: means over the draws."""
    linear = compared["best_linear"]
    kinds = {"head": "text", "accuracy": "percent2", "difference, points": "points2", "median p": "p"}
    if linear is not None:
        kinds |= {f"to {head_title(linear)}, points": "points2", "its median p": "p"}
    kinds |= {"log-loss": "number", "change": "number"}
    rows: list[Any] = []
    for point in compared["curve"]["points"] if points is None else points:
        rows.append(Group(Cell(f"{point['n']:,} images for each head")))
        for head, row in point["heads"].items():
            cells = [head_title(head), row["accuracy"], *_differences(row, linear)]
            rows.append([*cells, row["log_loss"], row["log_loss_difference"]])
    return Table("Heads by the images that they are fitted on", columns_of(kinds), rows)


def verdict_on_rows(compared: Mapping[str, Any]) -> list[str]:
    """Say what trees gain over the softmax and the best linear head, from the fewest images to the most."""
    points, linear = compared["curve"]["points"], compared["best_linear"]
    first, last = points[0], points[-1]
    said = []
    for head in compared["runs"][0]["modes"]:
        for other, key in (("the softmax", None), (linear and head_title(linear), "against_linear")):
            ends = [point["heads"][head] for point in (first, last)]
            rows = ends if key is None else [end.get(key) for end in ends]
            if other is not None and all(row is not None for row in rows):
                gains = " to ".join(f"{100 * row['difference']:+.2f}" for row in rows)
                said.append(
                    f"{head_title(head)} against {other}, from {first['n']:,} to {last['n']:,} images for "
                    f"each head: {gains} points (p = {rows[-1]['median_p_value']:.2g} at the end)"
                )
    return said


def rows_section(compared: Mapping[str, Any], figures: Mapping[str, bytes]) -> Section:
    """Return how the gain of heads grows with the images that they are fitted on."""
    text = (
        "The same comparison with heads that are fitted on fewer images, drawn class by class, "
        f"{counted(len(compared['runs']), 'draw')}; each image counts once, however many views of it there "
        "are. The last row is of all images that there are for a head. The scored images are the same "
        "throughout."
    )
    left_out = compared["curve"]["left_out"]
    if left_out:
        text += f" Left out, as there are not as many: {', '.join(f'{n:,}' for n in left_out)}."
    named = [{"file": ROWS_FIGURE, "title": "Gain against the images for a head"}]
    blocks: list[Block] = [
        ("items", verdict_on_rows(compared)),
        ("faint", text),
        table(rows_table(compared)),
        ("figures", named_figures(figures, named)),
    ]
    return Section("rows", "Rows", "Gain by the images for a head", blocks)
