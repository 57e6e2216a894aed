"""What the user sees: notes and progress on stderr, the result on stdout, errors without tracebacks."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cnnboost.errors import CnnboostError, LayerError, ParameterError, RecipeError
from cnnboost.escape import visible
from cnnboost.files import NO_ROOM, reason_of


class _Screen(Console):
    """A console that shows text as it is: no markup counts, no control character gets through."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, markup=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects, strings as they look."""
        shown = [visible(one, keep="\n\t") if isinstance(one, str) else one for one in objects]
        super().print(*shown, **options)


stderr = _Screen(stderr=True)
stdout = _Screen()

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130

#: What a stopped command leaves behind, where it is not what was finished.
_KEPT = {
    "predict": "no file was written",
    "export": "the former bundle is unchanged; networks, features and heads that were made are kept",
    "fit_boost": "features are kept, the same command continues there; the trees begin again",
    "card": "the former card is unchanged",
    "report": "the former page is unchanged",
    "serve": "the server has ended",
}

Command = TypeVar("Command", bound=Callable[..., Any])


def guarded(command: Command) -> Command:
    """Turn what a user can cause into one line and an exit status."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (RecipeError, LayerError, ParameterError) as error:
            _fail(str(error), BAD_USAGE, error)
        except CnnboostError as error:
            _fail(str(error), FAILED, error)
        except KeyboardInterrupt as error:
            kept = _KEPT.get(command.__name__, "what was finished is kept, the same command continues there")
            _fail(kept, getattr(error, "status", INTERRUPTED), error)
        except BrokenPipeError:
            raise  # whoever reads our output has seen enough: `main` ends quietly
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            # Files of ours name themselves: this is a temporary one of a library.
            hint = f" (temporary files go to {tempfile.gettempdir()}; TMPDIR names another folder)"
            hint = hint if error.errno in NO_ROOM else ""
            _fail(f"{place}{reason_of(error)}{hint}", FAILED, error)

    return run  # type: ignore[return-value]


def _fail(message: str, status: int, error: BaseException) -> None:
    label = "stopped" if isinstance(error, KeyboardInterrupt) else "error"
    with contextlib.suppress(OSError):  # the terminal may be gone: that is what SIGHUP says
        stderr.print(f"{label}: ", end="", style="bold red")
        stderr.print(message)
    if os.environ.get("CNNBOOST_TRACEBACK"):
        raise error
    raise typer.Exit(status)


@contextmanager
def open_streams() -> Iterator[None]:
    """Keep stdout and stderr from failing: closed ones, narrow encodings, a reader that has gone."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open to the end
            setattr(sys, name, stream)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python must not try to flush the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        stderr.print(f"error: stdout cannot be written: {reason_of(error)}")
        raise SystemExit(FAILED) from None


def notes(quiet: bool) -> None:
    """Show the library's log on stderr."""
    logger = logging.getLogger("cnnboost")
    for handler in [h for h in logger.handlers if isinstance(h, _Notes)]:
        logger.removeHandler(handler)
    logger.addHandler(_Notes())
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    logging.captureWarnings(True)
    warnings = logging.getLogger("py.warnings")
    if not any(isinstance(h, _Notes) for h in warnings.handlers):
        warnings.addHandler(_Notes())
        warnings.propagate = False


class _Notes(logging.Handler):
    """One line per record, in the colour of its level; a warning's source line is left out."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name == "py.warnings":
            text = text.strip().splitlines()[0].split("Warning: ", 1)[-1]
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        stderr.print(text, style=style)


def progress(quiet: bool) -> Callable[[str, str], Any]:
    """Make the factory of progress bars: a bar with rate and time left on a terminal."""

    @contextmanager
    def bar(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[rate]}} {unit}s/s"),
            TimeRemainingColumn(),
        )
        disabled = quiet or not stderr.is_terminal
        with Progress(*columns, console=stderr, disable=disabled, transient=True) as shown:
            task = shown.add_task(what, total=None, rate="")

            def report(done: int, total: int) -> None:
                speed = shown.tasks[0].speed if shown.tasks else None
                shown.update(task, completed=done, total=total, rate=f"{speed:,.1f}" if speed else "")

            yield report

    return bar


def emit(document: Any, as_json: bool, show: Callable[[Console, Any], None]) -> None:
    """Print the one result of a command."""
    if as_json:
        emit_json(document)
    else:
        show(stdout, document)


def emit_json(document: Any) -> None:
    """Print a result as JSON."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


@contextmanager
def quiet_import() -> Iterator[None]:
    """Hide what TensorFlow's libraries print while they load; show it if they fail."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        except Exception:
            sink.seek(0)
            os.write(saved, sink.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def load_keras() -> None:
    """Import Keras and its backend without their chatter."""
    with quiet_import():
        import keras

        # The backend prints once more when it is first used.
        with contextlib.suppress(ImportError):
            keras.ops.zeros(1)
