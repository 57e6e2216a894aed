"""The queue of the studies: what went through is not run again, what failed is, and two queues do not mix."""

import fcntl
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

QUEUE = Path(__file__).parent.parent / "pipelines" / "queue.sh"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a script for Linux")


@pytest.fixture
def queue(tmp_path):
    file = tmp_path / "queue.txt"

    def run(*commands):
        if commands:
            file.write_text("# comment\n\n" + "\n".join(commands))
        environment = {**os.environ, "CNNBOOST": f"{sys.executable} -m cnnboost"}
        return subprocess.run(
            [QUEUE, file], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    run.done = file.with_name("queue.txt.done")
    return run


def test_what_failed_is_tried_again_and_what_went_through_is_not(queue):
    first = queue("layers --help # fast", "layers --nothing", "train --help")
    assert first.returncode == 1
    assert "status 2: cnnboost layers --nothing" in first.stderr
    assert queue.done.read_text().splitlines() == ["layers --help", "train --help"]
    again = queue()
    assert again.stdout.count("cnnboost layers") == 1
    assert again.returncode == 1
    assert queue("layers --help").stdout == ""


def test_a_second_queue_ends_at_once(queue):
    queue("layers --help")
    with queue.done.with_name("queue.txt.done.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = queue("layers -r oslo --quiet")
    assert second.returncode == 1
    assert "another process works on this queue" in second.stderr
    assert "oslo" not in queue.done.read_text()


@pytest.mark.parametrize("name", ["queue.txt", "networks.txt"])
def test_every_command_of_a_queue_is_one(name):
    """Each is parsed as far as the images, which are not there."""
    commands = [
        line.partition("#")[0].split()
        for line in QUEUE.with_name(name).read_text().splitlines()
        if line[:1] not in "#"
    ]
    assert len(commands) > 10
    from cnnboost.config import load_recipe

    for command in commands:
        name = command[command.index("-r") + 1] if "-r" in command else command[1]
        sets = [value for option, value in pairwise(command) if option == "--set"]
        recipe = load_recipe(name, sets)
        if "--study" in command:
            assert command[command.index("--study") + 1] in recipe.studies
