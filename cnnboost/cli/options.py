"""The options that commands share: each is stated once, and those that go together are a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

OnBad = Literal["stop", "skip"]
"""What to do about images that cannot be read."""
Graph = Literal["hybrid", "cnn", "int8"]
"""The graphs of a bundle."""

RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe", "-r", help="A recipe file, or the name of a packaged one.", show_default="digits"
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Folder, .zip, fer2013.csv, .npz, CIFAR-10 folder, URL of a folder, .txt list of paths or "
        "URLs, 'digits'. Else CNNBOOST_DATA.",
    ),
]
ModelsOption = Annotated[Path, typer.Option("--models", help="Folder for CNNs, features and heads.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder for scores and figures.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key of the recipe: cnn.epochs=5."),
]
OnBadOption = Annotated[
    OnBad, typer.Option("--on-bad", help="Unreadable images: stop, or skip and list them in bad_inputs.csv.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Redo this step though its output is up to date.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, all else on stderr.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes; warnings stay.")]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="A trained .keras or .h5 file, in place of the recipe's CNN."),
]
PixelsOption = Annotated[
    Literal["unit", "raw", "symmetric", "caffe", "torch"] | None,
    typer.Option(
        "--pixels",
        help="Pixels that --model expects: unit 0..1, raw 0..255, symmetric -1..1; caffe (BGR less means) "
        "and torch (means and deviations by channel) as in keras.applications.",
        show_default="what its layers say, else unit",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="A,B,C",
        help="The order of --model's outputs: names of the classes, or a file with one name per line.",
        show_default="found, else the data's",
    ),
]
ImageCacheOption = Annotated[
    bool | None,
    typer.Option(
        "--image-cache/--no-image-cache",
        help="With --model: keep decoded images on the disk, or decode them whenever they are needed.",
        show_default="keep up to 32 GiB",
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", show_default="the recipe's")
]

GraphOption = Annotated[
    Graph | None,
    typer.Option(
        "--graph",
        help="The hybrid, the CNN alone, or the hybrid in 8-bit integers (faster, slightly different).",
        show_default="hybrid",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="Threads.", show_default="all cores")
]


def _check_size(size: str | None) -> str | None:
    from cnnboost.errors import ParameterError
    from cnnboost.memory import parse_size

    try:
        if size is not None:
            parse_size(size)
    except ParameterError as error:
        raise typer.BadParameter(str(error)) from error
    return size


MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        callback=_check_size,
        help="What XGBoost's bins may take: 2GiB, 500MB. More of them are kept in a cache on the disk.",
        show_default="half of what is free",
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS",
        help="Have the workers of a Dask cluster do it: tcp://HOST:8786, or local:N for N on this machine. "
        "Folders must be shared by all.",
        show_default="this process alone",
    ),
]
ModeOption = Annotated[
    str | None,
    typer.Option(
        "--mode",
        help="plain: trees alone; residual: trees boosted from the CNN's log-probabilities; blend: both "
        "mixed.",
        show_default="the recipe's",
    ),
]
TtaOption = Annotated[
    str | None,
    typer.Option(
        "--tta",
        help="Views whose mean is predicted: none, flip, shifts, ten-crop.",
        show_default="the recipe's in residual and blend",
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="train, validation or test.",
        show_default="the recipe's, else test where there is one, else validation",
    ),
]
LayersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", "-l", help="Layer; repeatable in residual and blend.", show_default="the recipe's"
    ),
]


@dataclass(frozen=True)
class JobOptions:
    """What every command on a recipe and its images is told; see `command` in `cnnboost.cli.app`."""

    recipe: RecipeOption = None
    data: DataOption = None
    models: ModelsOption = Path("models")
    reports: ReportsOption = Path("reports")
    overrides: SetOption = None
    on_bad: OnBadOption = "stop"
    as_json: JsonOption = False
    quiet: QuietOption = False


@dataclass(frozen=True)
class ModelOptions(JobOptions):
    """The same, of a command that takes a trained model file too."""

    model: ModelOption = None
    pixels: PixelsOption = None
    classes: ClassesOption = None
    image_cache: ImageCacheOption = None
