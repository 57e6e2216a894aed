"""The command line: parse, call one stage, print one result."""

from __future__ import annotations

from cnnboost.cli import (  # noqa: F401 - the commands enter themselves
    bench,
    commands,
    compare,
    evaluate,
    export,
    init,
    predict,
    report,
    serve,
    tune,
)
from cnnboost.cli.app import app
from cnnboost.cli.console import open_streams
from cnnboost.stopping import heed_signals


def main() -> None:
    """Run the command line."""
    heed_signals()
    with open_streams():
        app()


__all__ = ["app", "main"]
