"""Latency: rows by the size of a call, and what else the machine did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnboost.report.sections.figures import Figure


def latency_section(latency: Mapping[str, Any] | None, figures: Sequence[Figure]) -> dict[str, Any] | None:
    """Say how long calls take."""
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
        "figures": list(figures),
    }
