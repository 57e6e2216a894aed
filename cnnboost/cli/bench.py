"""`cnnboost bench`: the latency of every path."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console
from cnnboost.cli.app import command, job_of
from cnnboost.cli.options import JobOptions, LayersOption, ModeOption, SplitOption, TtaOption
from cnnboost.cli.tables import new_table, written

# Short, so that the table fits 80 columns.
_NUMBERS = ("p50 ms", "p95", "p99", "iqr", "img/s", "faster", "limit", "right", "same")
_LEGEND = """\
iqr: interquartile range over the median; faster: than predict (heads: dmatrix)
limit: share of the best float32 matrix product, {size} x {size}, in GFLOP/s:
       {rates}
right: accuracy; same: labels like those of predict, over all images
head only: on features, without the network; other rows begin at images"""


@command()
def bench(
    options: JobOptions,
    batch: Annotated[
        list[str] | None,
        typer.Option(
            "--batch", "-b", help="Images in a call, or 'all'; repeatable.", show_default="recipe's"
        ),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", min=1, help="Rounds.", show_default="the recipe's")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Of every library.", show_default="each library's own choice"),
    ] = None,
    layer: LayersOption = None,
    mode: ModeOption = None,
    tta: TtaOption = None,
    split: SplitOption = None,
) -> None:
    """Measure latency from raw images to probabilities: CNN and hybrid, every runtime, side by side."""
    if batch:
        from cnnboost.timing.paths import check_batches

        check_batches(batch)
    job = job_of(options)
    from cnnboost.stages.benchmark import bench as measure

    found = measure(
        job, layer, mode=mode, tta=tta, split=split, batches=batch or None, repeats=repeats, threads=threads
    )
    console.emit(found.shown, options.as_json, show_latency)


def show_latency(out: Console, document: dict[str, Any]) -> None:
    """Print latencies by batch size, cold starts, and the goals."""
    used = ", ".join(f"{name} {n}" for name, n in document["threads"]["used"].items())
    mode = "" if document["mode"] == "plain" else f", {document['mode']}"
    views = "" if document["tta"] == "none" else f", views: {document['tta']}"
    out.print(
        f"{document['title'] or document['recipe']}\nlatency at {document['layer']}{mode}{views}, "
        f"{document['images']:,} images of {document['split']}\nthreads: {used}",
    )
    table = new_table("path", *_NUMBERS, numbers=_NUMBERS)
    batch = None
    for row in document["rows"]:
        if row["batch"] != batch:
            batch = row["batch"]
            size = f"all {batch:,} images" if row["all_images"] else f"batch {batch:,}"
            table.add_row(size, style="bold")
        share = row["share_of_product_rate"]
        rate = row["images_per_s"]
        table.add_row(
            row["path"],
            *(_short(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms")),
            f"{row['spread']:.0%}",
            f"{rate / 1e3:,.0f}k" if rate >= 1e4 else f"{rate:,.0f}",
            "1" if row["path"] == row["ratio_to"] else f"{_short(row['ratio'])}x",
            "head only" if row["measured"] == "head only" else f"{share:.0%}",
            *("100%" if row[key] == 1 else f"{row[key]:.2%}" for key in ("accuracy", "agreement")),
        )
    out.print(table)
    product = document["product"]
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in product["gflop_per_s"].items())
    out.print(_LEGEND.format(size=product["size"], rates=rates), style="dim")
    out.print()
    starts = new_table("fresh process", "until", "seconds", numbers=["seconds"])
    for row in document["starts"]:
        starts.add_row(row["what"], row["until"], f"{row['p50_s']:.2f}")
    out.print(starts)
    out.print()
    goals = new_table("figure", "value", "goal", "", numbers=["value"])
    for row in document["goals"]:
        goals.add_row(row["what"], f"{row['value']:.3g}", row["goal"], "met" if row["met"] else "not met")
    out.print(goals)
    out.print(f"goals are stated for {document['goals_stated_for']}", style="dim")
    written(out, document["written"])


def _short(value: float) -> str:
    """Return a number with three significant figures, from 100 on as a whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
