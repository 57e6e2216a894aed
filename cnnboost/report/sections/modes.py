"""The hybrid in every mode against its softmax, as the section of a page."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from cnnboost.errors import DataError
from cnnboost.report.sections.figures import named_figures

_FILE = "compare.json"
FIGURE = "compare.png"


def modes_section(compared: Mapping[str, Any] | None, figures: Mapping[str, bytes]) -> dict[str, Any] | None:
    """Give what the section on the modes of the hybrid shows."""
    if compared is None:
        return None
    try:
        runs = compared["runs"]
        views = {"none": "the image itself"}.get(compared["hybrid"]["tta"], compared["hybrid"]["tta"])
        networks = compared["compare"]["networks"]
        text = (
            f"{compared['n']:,} images of {compared['split']}, {len(runs)} seed{'s' * (len(runs) > 1)}, "
            f"{networks} trained {'network' if networks == 1 else 'networks'}; layers "
            f"{', '.join(compared['layers'])}; views at test time: {views}. Trees grown on "
            f"{compared['grown_on']}. Temperature, rounds and weight of each image's head were chosen on "
            f"{compared['chosen_on']}."
        )
        softmax = [
            {
                "name": name,
                "accuracy": fmean(run[key]["scores"]["accuracy"]["value"] for run in runs),
                "log_loss": fmean(run[key]["scores"]["log_loss"]["value"] for run in runs),
                "calibration": fmean(run[key]["scores"]["calibration_error"]["value"] for run in runs),
            }
            for name, key in (("softmax", "softmax"), ("calibrated softmax", "calibrated"))
        ]
        modes = [
            {
                "name": mode,
                **row,
                "calibration": fmean(
                    run["modes"][mode]["scores"]["calibration_error"]["value"] for run in runs
                ),
            }
            for mode, row in compared["summary"].items()
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{_FILE} is not what `cnnboost compare` writes: {error!r}") from error
    drawn = named_figures(figures, [{"file": FIGURE, "title": "Differences to the softmax, seed by seed"}])
    return {"text": text, "softmax": softmax, "modes": modes, "figures": drawn}
