"""Signals end the program as Ctrl-C does, with a status of their own, and the second one at once."""

import os
import signal
import subprocess
import sys

import pytest
import typer

from cnnboost.cli.console import guarded
from cnnboost.errors import Stopped

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

PROGRAM = """
import signal, sys
from cnnboost.errors import Stopped
from cnnboost.stopping import heed_signals

# Whatever the tests themselves were started with.
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "nohup" else signal.SIG_DFL)
heed_signals()
try:
    print("ready", flush=True)
    sys.stdin.readline()
except Stopped as error:
    print(error.status, flush=True)
    if sys.argv[1] == "slow":
        sys.stdin.readline()
    sys.exit(error.status)
"""


def program(how):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_each_signal_has_its_status(name, status):
    process = program("quick")
    process.send_signal(getattr(signal, name))
    said, _ = process.communicate()
    assert (said, process.returncode) == (f"{status}\n", status)


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_the_second_one_ends_it_at_once(second):
    process = program("slow")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "130\n"
    process.send_signal(getattr(signal, second))
    process.communicate()
    assert process.returncode == -getattr(signal, second)


def test_what_the_caller_ignores_stays_ignored():
    process = program("nohup")
    process.send_signal(signal.SIGHUP)
    process.communicate("\n")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("name", "error", "status", "said"),
    [
        ("train", Stopped(signal.SIGTERM), 143, "continues there"),
        ("predict", Stopped(signal.SIGHUP), 129, "no file was written"),
        ("export", KeyboardInterrupt(), 130, "is unchanged"),
    ],
)
def test_a_command_says_what_is_kept(name, error, status, said, capsys):
    def command():
        raise error

    command.__name__ = name
    with pytest.raises(typer.Exit) as ended:
        guarded(command)()
    assert ended.value.exit_code == status
    assert said in capsys.readouterr().err


def test_a_signal_during_the_imports_leaves_no_traceback(tmp_path):
    (tmp_path / "keras.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    command = [sys.executable, "-m", "cnnboost", "train"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 143, done.stderr
    assert done.stderr.startswith("stopped")
    assert "Traceback" not in done.stderr
