"""What came of a campaign, as a table."""

from __future__ import annotations

from typing import Any

from tests.fuzz.kind import OUTCOMES


def table(document: dict[str, Any]) -> str:
    """Return the counts of each kind, and the faults, most frequent first.

    Parameters
    ----------
    document : dict
        Of `Campaign.document`.
    """
    columns = ("inputs", *OUTCOMES)
    rows = [("", *columns)]
    total = dict.fromkeys(columns, 0)
    for kind, of in document["kinds"].items():
        rows.append((kind, *(str(of[name]) for name in columns)))
        for name in columns:
            total[name] += of[name]
    rows.append(("all", *(str(total[name]) for name in columns)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns) + 1)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    for fault in document["faults"]:
        lines += [
            "",
            f"{fault['inputs']} x {fault['fault']}",
            *(f"    {command}" for command in fault["again"]),
        ]
    return "\n".join(lines)
