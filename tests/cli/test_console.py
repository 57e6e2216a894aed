"""What reaches the terminal: names of strangers, narrow encodings, readers that leave, closed streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnboost.cli import console, tables


def printed(text: str, **options) -> subprocess.CompletedProcess:
    code = (
        "import sys\n"
        "from cnnboost.cli.console import open_streams, stdout\n"
        f"with open_streams():\n    {text}\n"
    )
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
def test_no_encoding_of_the_terminal_fails(env):
    done = printed(
        r"stdout.print('\u65e5\u672c caf\udce9 \x1b[31m [red]x'); sys.stderr.write('\u65e5')",
        env={"PYTHONUTF8": "0", **env},
        stdout=subprocess.PIPE,
    )
    assert (done.returncode, done.stderr) == (0, "\\u65e5")
    assert done.stdout.strip() == r"\u65e5\u672c caf\udce9 \x1b[31m [red]x"


def test_a_reader_that_leaves_ends_it_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    for text in ("sys.stdout.write('x')", "stdout.print('x' * 100_000)"):
        done = printed(text, stdout=writer)
        assert (done.returncode, done.stderr) == (1, "")
    os.close(writer)


def test_closed_streams_are_not_faults():
    code = "import sys; sys.argv[1:] = ['--version']; from cnnboost.cli import main; main()"
    command = f'"{sys.executable}" -c "{code}" >&- 2>&-'
    assert subprocess.run(command, shell=True, check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_said():
    with Path("/dev/full").open("w") as full:
        done = printed("sys.stdout.write('x')", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "error: stdout cannot be written: No space left on device\n"


def test_names_in_tables_are_shown_as_they_are(capsys):
    table = tables.new_table("class", "[b]n[/b]")
    table.add_row("[red]x[/red]", "\x1b[31m\n")
    console.stdout.print(table)
    console.stdout.print("[bold]a\x1b]0;title\x07\u202eb")
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines()] == [
        ["class", "[b]n[/b]"],
        ["[red]x[/red]", "\\x1b[31m\\n"],
        ["[bold]a\\x1b]0;title\\x07\\u202eb"],
    ]


def test_inspect_of_names_that_the_terminal_cannot_show(tmp_path, recipe_file):
    rng = np.random.default_rng(0)
    names = ["日本語", "[red]", "$x^2", "a|b\n", "\x1b[31m", os.fsdecode(b"caf\xe9")]
    for name in names:
        try:
            (tmp_path / "data" / name).mkdir(parents=True)
        except OSError:
            pytest.skip("the file system takes UTF-8 only")
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(
                tmp_path / "data" / name / f"{i}.png"
            )
    command = [sys.executable, "-m", "cnnboost", "inspect", "-r", str(recipe_file), "--data", "data"]
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, encoding="cp1252", check=False
    )
    assert done.returncode == 0, done.stderr
    shown = {line.split(" ")[0] for line in done.stdout.splitlines()}
    assert {r"\u65e5\u672c\u8a9e", "[red]", "$x^2", r"a|b\n", r"\x1b[31m", r"caf\xe9"} <= shown
    audit = json.loads((tmp_path / "reports" / "toy" / "audit.json").read_bytes())
    exact = {*names[:-1], r"caf\xe9"}
    assert set(audit["counts"]["train"]) == exact
    assert done.stderr.count("shows boxes") == 2
