"""`python -m tests.fuzz`: run the campaign, or one input of it again."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import Campaign
from tests.fuzz.kind import WRONG
from tests.fuzz.kinds import KINDS
from tests.fuzz.table import table


def main() -> int:
    """Run what was asked for; return 1 where an input was not read as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="repeatable (default: all)")
    parser.add_argument("--number", type=int, help="run only this input of the one kind")
    parser.add_argument(
        "--keep", type=Path, default=Path("reports/fuzz"), help="folder for inputs (default: %(default)s)"
    )
    parser.add_argument(
        "--json", type=Path, help="file to write the counts to (default: counts.json in that folder)"
    )
    parser.add_argument("--originals", type=Path, help="folder of undamaged files to make, or to use again")
    asked = parser.parse_args()
    kinds = asked.kind or list(KINDS)
    campaign = Campaign(kinds, asked.seed, asked.keep, asked.originals)
    if asked.number is not None:
        if len(kinds) != 1:
            parser.error("--number belongs to one --kind")
        found = campaign.run_one(kinds[0], asked.number)
        print(f"{found['outcome']}: {found['how']}\n{found['said']}")
        return int(found["outcome"] in WRONG)
    started = time.monotonic()
    campaign.run(asked.seconds)
    document = campaign.document(time.monotonic() - started)
    path = asked.json or asked.keep / "counts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(table(document))
    return int(bool(campaign.wrong))


if __name__ == "__main__":
    sys.exit(main())
