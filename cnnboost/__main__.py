"""The program: `cnnboost`, or `python -m cnnboost`."""

from __future__ import annotations

import sys

from cnnboost.errors import Stopped
from cnnboost.stopping import heed_signals


def main() -> None:
    """Run the command line; signals are heeded while it is still being imported."""
    heed_signals()
    try:
        from cnnboost import cli

        cli.main()
    except Stopped as error:  # before a command began
        print("stopped", file=sys.stderr)
        sys.exit(error.status)


if __name__ == "__main__":
    main()
