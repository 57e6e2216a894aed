"""The command line: parse, call one function of the line, print one result."""

from __future__ import annotations

from cnnboost.cli import (  # noqa: F401 - the commands enter themselves
    bench,
    card,
    commands,
    compare,
    evaluate,
    export,
    predict,
    report,
    teach,
    tune,
)
from cnnboost.cli.app import app


def main() -> None:
    """Run the command line."""
    app()


__all__ = ["app", "main"]
