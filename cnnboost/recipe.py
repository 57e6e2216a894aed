"""A recipe: one experiment, stated as facts in a TOML file.

Unknown keys and impossible values are refused with the key, the value and what would do. A recipe is frozen;
`Recipe.digest` of some of its tables is what decides whether an output is up to date.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cnnboost.errors import RecipeError

DEFAULT = "digits"
#: The tables that a hybrid follows from.
HYBRID_TABLES = ("data", "cnn", "cut", "boost")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


Fraction = Annotated[float, Field(ge=0, lt=1)]
Whole = Annotated[int, Field(ge=1)]


class Data(_Table):
    """`[data]`: which images, and what is made of them.

    Attributes
    ----------
    source : str or None
        A source that is always at hand (`digits`); others are given by `--data`.
    size : int or (height, width)
        Pixels; images of another size are resized. None: as they are.
    channels : 1 or 3
        Grey or RGB. None: as they are.
    classes : list of str
        Order of the classes; default alphabetical.
    drop : list of str
        Classes to leave out.
    binary : str
        One class against the rest.
    validation_fraction : float
        Share of train that becomes validation where the source has none.
    seed : int
        Of that choice.
    """

    source: str | None = None
    size: Whole | tuple[Whole, Whole] | None = None
    channels: Literal[1, 3] | None = None
    classes: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    binary: str | None = None
    validation_fraction: Fraction = 0.1
    seed: int = 0


class Cnn(_Table):
    """`[cnn]`: the network and its training; keys as the parameters of `CNNClassifier`.

    Attributes
    ----------
    architecture : str
        A name in the registry.
    options : table
        The architecture's own options.
    augment : table or None
        Fields of `cnnboost.images.augment.Augmentation`.
    """

    architecture: str = "digits"
    options: dict[str, Any] = Field(default_factory=dict)
    epochs: Whole = 50
    batch_size: Whole = 64
    optimizer: str = "adam"
    learning_rate: Annotated[float, Field(gt=0)] | None = 1e-3
    momentum: Fraction | None = None
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: str = "constant"
    step_epochs: Whole | None = None
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    warmup: Fraction | None = None
    early_stopping: Annotated[int, Field(ge=0)] | None = None
    reduce_lr: Annotated[int, Field(ge=0)] | None = None
    reduce_lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    min_learning_rate: Annotated[float, Field(ge=0)] = 1e-7
    monitor: str | None = None
    loss: str = "crossentropy"
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    label_smoothing: Fraction = 0.0
    augment: dict[str, float] | None = None
    balance: bool = False
    mixup: Annotated[float, Field(ge=0)] = 0.0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    class_weight: Literal["balanced"] | dict[str, float] | None = None
    validation_fraction: Fraction = 0.1
    seed: int = 0


class CutTable(_Table):
    """`[cut]`: where the CNN is cut.

    Attributes
    ----------
    layers : list of str
        The layers that `run` boosts, in the order of its table.
    layer : str
        The one that `fit-boost` takes when none is named.
    """

    layers: tuple[str, ...] = ("flatten", "fc1", "fc2", "output")
    layer: str = "fc1"

    @model_validator(mode="after")
    def _some(self) -> CutTable:
        if not self.layers:
            raise ValueError("name at least one layer")
        return self


class Boost(_Table):
    """`[boost]`: the head; keys as the parameters of `BoostClassifier`."""

    n_estimators: Whole = 100
    max_depth: Annotated[int, Field(ge=0)] = 6
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.3
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    gamma: Annotated[float, Field(ge=0)] = 0.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    reg_alpha: Annotated[float, Field(ge=0)] = 0.0
    max_bin: Annotated[int, Field(ge=2)] = 256
    class_weight: Literal["balanced"] | dict[str, float] | None = None
    early_stopping_rounds: Whole | None = None
    validation_fraction: Fraction = 0.1
    device: str = "auto"
    seed: int = 0
    xgb_params: dict[str, Any] = Field(default_factory=dict)


class Published(_Table):
    """`[evaluate.published]`: accuracies that others printed for the same system.

    Attributes
    ----------
    source : str
        Who printed them, and on which images.
    cnn : float
        Of the CNN alone, in [0, 1].
    layers : table
        Of the hybrid at each layer, in [0, 1].
    """

    source: str
    cnn: Annotated[float, Field(ge=0, le=1)] | None = None
    layers: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)


class Evaluate(_Table):
    """`[evaluate]`: what is scored.

    Attributes
    ----------
    split : {"test", "validation"} or None
        None: test where there is one, else validation.
    confidence : float
        Of the intervals, in (0, 1).
    resamples : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.
    published : table
    """

    split: Literal["test", "validation"] | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 1000
    seed: int = 0
    published: Published | None = None


class Bench(_Table):
    """`[bench]`: how latency is measured.

    Attributes
    ----------
    batches : list of int or "all"
        Images in a call; `all` is every image of the scored split in one call.
    repeats : int
        Rounds in which the paths take turns; each is timed at least so often.
    seconds : float
        For all rounds of one path at one batch size; quick paths are called more often within it.
    threads : int or None
        Of every library. None: each chooses its own.
    """

    batches: tuple[int | Literal["all"], ...] = (1, 8, 64, 512, "all")
    repeats: Whole = 5
    seconds: Annotated[float, Field(gt=0)] = 0.5
    threads: Whole | None = None

    @field_validator("batches", mode="before")
    @classmethod
    def _sizes(cls, batches: Any) -> Any:
        # Said here once: of a union, every member would complain in turn.
        if not isinstance(batches, (list, tuple)) or not batches:
            raise ValueError('give a list of batch sizes, e.g. [1, 64, "all"]')
        for size in batches:
            if size != "all" and (type(size) is not int or size < 1):
                raise ValueError(f"{size!r} is no batch size; give numbers of images from 1, or 'all'")
        return batches


class Space(_Table):
    """Values that a search tries for one key: some choices, or a range.

    Attributes
    ----------
    choices : list
        Each of them is tried by a grid.
    low, high : int or float
        Both ends belong to it; whole numbers where both are.
    step : int or float or None
        Distance of the values.
    log : bool
        Even in the logarithm; not with a step.
    """

    choices: tuple[Any, ...] | None = None
    low: int | float | None = None
    high: int | float | None = None
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Space:
        is_range = self.low is not None and self.high is not None
        if bool(self.choices) == is_range:
            raise ValueError("give choices = [...], or low and high")
        if is_range and not self.low < self.high:  # type: ignore[operator]
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        if self.log and (self.step is not None or not is_range or self.low <= 0):  # type: ignore[operator]
            raise ValueError("log goes with low and high above 0, and without a step")
        return self


class Search(_Table):
    """`[search]`: which keys are searched, and how; see `cnnboost.search`.

    Attributes
    ----------
    space : table of str to table
        By key of the recipe, in quotes: `"boost.max_depth" = { choices = [4, 6, 8] }`.
    sampler : {"grid", "random", "tpe"}
        A grid tries every combination of choices.
    trials : int
        Trials in all; a grid may need fewer.
    target : str
        What is judged: `cnn`, or the layer of a head.
    metric : {"accuracy", "macro_f1", "log_loss"}
    fraction : float
        Share of the train images on which trials are judged; they are fitted on the rest.
    seed : int
    """

    space: dict[str, Space] = Field(default_factory=dict)
    sampler: Literal["grid", "random", "tpe"] = "tpe"
    trials: Whole = 20
    target: str = "cnn"
    metric: Literal["accuracy", "macro_f1", "log_loss"] = "accuracy"
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: int = 0


class Recipe(_Table):
    """One experiment.

    Attributes
    ----------
    name : str
        Of the folders under `models/` and `reports/`; the name of the file unless it states another.
    title : str
        One line for tables and pages.
    data, cnn, cut, boost, evaluate, bench, search : table

    Examples
    --------
    >>> from cnnboost.recipe import load_recipe
    >>> load_recipe("oslo").cnn.epochs
    50
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    title: str = ""
    data: Data = Data()
    cnn: Cnn = Cnn()
    cut: CutTable = CutTable()
    boost: Boost = Boost()
    evaluate: Evaluate = Evaluate()
    bench: Bench = Bench()
    search: Search = Search()

    def digest(self, *tables: str) -> str:
        """Hash some tables: equal facts, equal digest, whatever the layout of the file.

        What a recipe leaves at its default is no part of it, so that a new key changes no digest.

        Parameters
        ----------
        *tables : str

        Returns
        -------
        str
            sha256, hexadecimal.
        """
        facts = self.model_dump(mode="json", include=set(tables), exclude_defaults=True)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with other values.

    Parameters
    ----------
    recipe : Recipe
    values : mapping of str to object
        By key: `cnn.learning_rate`, `cnn.options.dropout`.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If a key is unknown or a value is impossible.

    Examples
    --------
    >>> from cnnboost.recipe import changed, load_recipe
    >>> changed(load_recipe("oslo"), {"boost.max_depth": 4}).boost.max_depth
    4
    """
    facts = recipe.model_dump(exclude_unset=True)
    for key, value in values.items():
        *tables, last = key.split(".")
        table = facts
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    try:
        return Recipe.model_validate(facts)
    except ValidationError as error:
        raise RecipeError("; ".join(_explain(e) for e in error.errors())) from None


def load_recipe(source: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    source : path or str, optional
        A TOML file, or the name of a packaged recipe. Default: the packaged `digits`.
    overrides : sequence of str
        `table.key=value` in TOML syntax, e.g. `cnn.epochs=5`; they stand over the file.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If the file is missing or no TOML, a key is unknown, or a value is impossible.
    """
    path = _locate(DEFAULT if source is None else source)
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: no valid TOML: {error}") from error
    facts.setdefault("name", path.stem)
    for override in overrides:
        _override(facts, override)
    try:
        return Recipe.model_validate(facts)
    except ValidationError as error:
        raise RecipeError(f"{path}: " + "; ".join(_explain(e) for e in error.errors())) from None


def packaged() -> dict[str, Path]:
    """Return the recipes that came with the package, by name."""
    here = Path(__file__).parent
    for folder in (here / "pipelines", here.parent / "pipelines"):
        if (folder / f"{DEFAULT}.toml").is_file():
            return {path.stem: path for path in sorted(folder.glob("*.toml"))}
    raise RecipeError("the packaged recipes are missing; install cnnboost anew")


def _locate(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    recipes = packaged()
    if os.fspath(source) in recipes:
        return recipes[os.fspath(source)]
    if path.is_dir():
        raise RecipeError(f"{path}: a folder; a recipe is a .toml file")
    near = difflib.get_close_matches(path.stem, recipes, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(f"{path}: no such recipe.{hint} Packaged recipes: {', '.join(recipes)}")


def _override(facts: dict[str, Any], override: str) -> None:
    key, found, text = override.partition("=")
    if not found or not key.strip():
        raise RecipeError(f"--set {override!r}: give table.key=value, e.g. cnn.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *tables, last = key.strip().split(".")
    for table in tables:
        facts = facts.setdefault(table, {})
        if not isinstance(facts, dict):
            raise RecipeError(f"--set {override!r}: {table!r} is no table")
    facts[last] = value


def _explain(error: Any) -> str:
    """One line for one of pydantic's findings: the key, the value, what would do."""
    where = [str(part) for part in error["loc"] if not str(part).startswith(("function-", "constrained-"))]
    place = f"[{'.'.join(where[:-1])}] {where[-1]}" if len(where) > 1 else where[-1] if where else "recipe"
    if error["type"] == "extra_forbidden":
        known = _keys_at(where[:-1])
        near = difflib.get_close_matches(where[-1], known, n=1)
        hint = f"; did you mean {near[0]!r}" if near else ""
        return f"{place}: unknown key{hint}. Known here: {', '.join(known)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place} = {error['input']!r}: {message[:1].lower()}{message[1:]}"


def _keys_at(where: Sequence[str]) -> list[str]:
    table: Any = Recipe
    for part in where:
        if get_origin(table) is dict:  # any name, each with the same kind of table
            table = get_args(table)[1]
            continue
        table = table.model_fields[part].annotation
        if not hasattr(table, "model_fields") and get_origin(table) is not dict:
            table = next(t for t in get_args(table) if hasattr(t, "model_fields"))
    return list(table.model_fields)
