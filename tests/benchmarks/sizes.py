"""What cnnboost takes on a disk: its packages, those of the server, and the standalone folder.

Not a test: `make bench-sizes` runs it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

from cnnboost.deploy.bundle import shipped_bundle
from cnnboost.deploy.standalone import REQUIREMENTS, write_standalone
from cnnboost.files import write_json
from cnnboost.stages.provenance import machine, versions
from tests.distributions import installed, megabytes, with_dependencies
from tests.serve.test_dockerfile import STATED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    there, rows = installed(), {}
    for what, names in (("all", ["cnnboost"]), ("server", STATED)):
        rows[what] = megabytes(with_dependencies(names, there), there)
    rows["tensorflow"] = megabytes(["tensorflow"], there)
    with tempfile.TemporaryDirectory() as place:
        for graph in ("hybrid", "int8"):
            folder = Path(place, graph)
            written = write_standalone(shipped_bundle(), folder, graph=graph)
            rows[f"standalone {graph}"] = round(sum(path.stat().st_size for path in written) / 1e6, 1)
    needed = [Requirement(line).name for line in REQUIREMENTS]
    rows["standalone packages"] = megabytes(with_dependencies(needed, there), there)
    for what, size in rows.items():
        print(f"{what:>20} {size:9,.1f} MB")
    if given.json:
        write_json(given.json, {"megabytes": rows, "machine": machine(), "versions": versions()})


if __name__ == "__main__":
    main()
