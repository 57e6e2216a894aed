"""The code blocks of the documents, run as a reader would run them: in order, in one folder for each page.

A block that cannot be run here says why in a comment before it, `<!-- not run: it needs Docker -->`, which a
reader does not see; what it asks for is then checked without being done.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, chdir, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import typer
from typer.testing import CliRunner

from cnnboost import BoostClassifier
from cnnboost.cli import app
from cnnboost.cnn.architectures import ARCHITECTURES
from cnnboost.config import load_recipe
from tests import readme
from tests.brief import at_most
from tests.conftest import ROOT
from tests.given_files import give
from tests.serve.conftest import started

RUN, SHOWN = ("sh", "python", "toml"), ("text",)
_MARK = r"<!-- not run: (?P<why>[^\n]+?) -->\n"
_BLOCK = re.compile(rf"^(?:{_MARK})?```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INCLUDED = re.compile(r"^```\{include\} (\S+)$", re.MULTILINE)
_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
#: Less training than a reader would wait for; everything else is run as it is written.
_QUICK = ("-s", "cnn.epochs=1", "-s", "boost.n_estimators=2", "-s", "evaluate.resamples=100")
_TRAINING = {
    "train",
    "extract",
    "fit-boost",
    "evaluate",
    "run",
    "export",
    "bench",
    "tune",
    "compare",
    "predict",
}
_QUICK_OF = {"bench": ("--repeats", "1", "--batch", "1"), "tune": ("-s", "search.trials=2")}
_PLACEHOLDERS = {"BadOptionUsage", "BadParameter", "MissingParameter"}


@dataclass(frozen=True)
class Block:
    """A block of code, and why it is not run."""

    page: Path
    line: int
    language: str
    text: str
    why: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Give each command of a shell's block, as it is written and as words."""
        for line in self.text.splitlines():
            for command in line.split("&&"):
                words = shlex.split(command, comments=True)
                if words:
                    yield command, words


@cache
def pages() -> list[Path]:
    """Return all documents with code: those with figures, and what they include."""
    found = dict.fromkeys(readme.documents())
    for page in list(found):
        found.update(
            dict.fromkeys((page.parent / name).resolve() for name in _INCLUDED.findall(page.read_text()))
        )
    return list(found)


@cache
def blocks(page: Path) -> list[Block]:
    """Return the blocks of code of a page."""
    text, found = page.read_text(), []
    for match in _BLOCK.finditer(text):
        if not match["language"].startswith("{"):  # a directive of the site
            line = text.count("\n", 0, match.start("text"))
            found.append(Block(page, line, match["language"], match["text"], match["why"]))
    return found


def strays(page: Path) -> int:
    """Count the fences and marks of a page that belong to no block: none, or a block would go unnoticed."""
    text = page.read_text()
    found = list(_BLOCK.finditer(text))
    fences = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    marks = text.count("<!-- not run")
    return abs(fences - 2 * len(found)) + abs(marks - sum(match["why"] is not None for match in found))


@dataclass(frozen=True)
class Ran:
    """What the blocks of a page left: files, what they print, and the names of their Python."""

    folder: Path
    shown: str
    names: dict[str, Any]


def run(page: Path, folder: Path) -> Ran:
    """Run the blocks of a page in a folder with the files that they name."""
    todo = [block for block in blocks(page) if block.why is None]
    give(folder, "\n".join(block.text for block in todo))
    shown = io.StringIO()
    # `images` are in place of those of a reader, where a page does not make its own.
    names: dict[str, Any] = {"__name__": "page", "images": np.zeros((3, 48, 48, 1), np.uint8)}
    with ExitStack() as stack:
        stack.enter_context(chdir(folder))
        stack.enter_context(mock.patch.dict(ARCHITECTURES))  # a page may register one
        stack.enter_context(at_most(BoostClassifier, "n_estimators", 20))
        for block in todo:
            if block.language == "python":
                _python(block, names, shown)
            elif block.language == "toml":
                Path("block.toml").write_text(block.text)
                load_recipe("block.toml")
            elif block.language == "sh":
                _shell(block, stack, shown)
    return Ran(folder, shown.getvalue(), names)


def _python(block: Block, names: dict[str, Any], shown: io.StringIO) -> None:
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    with redirect_stdout(shown):
        exec(code, names)


def _shell(block: Block, stack: ExitStack, shown: io.StringIO) -> None:
    address = None
    for command, words in block.commands():
        if words[:2] == ["cnnboost", "serve"]:
            address = stack.enter_context(started(*words[2:])).address
        elif words[0] == "cnnboost":
            done = CliRunner(env={"COLUMNS": "100"}).invoke(app, quick(words[1:]))
            reason = "".join(traceback.format_exception(done.exception)) if done.exit_code else ""
            assert done.exit_code == 0, f"{block}: {command}\n{done.output}\n{reason}"
            shown.write(done.stdout)
        else:
            here = command if address is None else command.replace("http://127.0.0.1:8000/", address)
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            ran = subprocess.run(
                ["bash", "-c", here],
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert ran.returncode == 0, f"{block}: {command}\n{ran.stdout}\n{ran.stderr}"
            shown.write(ran.stdout)


def quick(words: list[str]) -> list[str]:
    """Return the words of a command, with settings that make it short if it is of a recipe."""
    name, *given = words
    recipe = {"-r", "--recipe"} & set(given)
    ready = "models/fer2013" in given  # a bundle, which takes no settings
    ready |= name == "predict" and not recipe
    ready |= name == "export" and not recipe | ({"--data", "--model"} & set(given))
    if name not in _TRAINING or ready:
        return words
    return [*words, *_QUICK, *_QUICK_OF.get(name, ())]


def check(block: Block) -> None:
    """Check a block that is not run: its commands, options and targets exist, its Python can be compiled."""
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language == "toml":
        raise AssertionError(f"{block}: a recipe can always be read; take the mark away")
    else:
        for _, words in block.commands():
            if words[0] == "cnnboost":
                parse(words[1:])
            elif words[0] == "make":
                assert set(words[1:2]) <= _TARGETS, f"{block}: no target {words[1]!r} in the Makefile"


@cache
def _commands() -> dict[str, typer.core.TyperCommand]:
    return typer.main.get_command(app).commands


def parse(words: list[str], placeholders: bool = False) -> None:
    """Have the command line read its words and do nothing; with `placeholders`, values need not be valid."""
    name, *given = words
    if name.startswith("-"):
        known = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
        assert name in known | {"--help"}, f"cnnboost has no option {name}"
        return
    assert name in _commands(), f"there is no command 'cnnboost {name}'"
    try:
        _commands()[name].make_context(name, [word for word in given if word != "--help"])
    except Exception as error:
        # Typer carries a copy of click's classes, so that none can be named here.
        if not (placeholders and type(error).__name__ in _PLACEHOLDERS):
            raise AssertionError(f"cnnboost {shlex.join(words)}: {error}") from error


def spans(text: str) -> list[list[str]]:
    """Return the commands within sentences: `cnnboost ...`, as words."""
    return [shlex.split(span)[1:] for span in re.findall(r"`(cnnboost\s[^`]+)`", text)]


def unknown_targets(text: str) -> set[str]:
    """Return the targets of `make` that sentences name and the Makefile does not have."""
    return set(re.findall(r"`make\s([a-z-]+)", text)) - _TARGETS
