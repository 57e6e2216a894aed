"""A short campaign in the ordinary suite, and whether the campaign would see what it looks for."""

import pytest

from cnnboost.errors import DataError, StoreError
from tests.fuzz import pool
from tests.fuzz.campaign import Campaign
from tests.fuzz.kind import MadeAnew, Unnoticed
from tests.fuzz.kinds import KINDS
from tests.fuzz.pool import Slot
from tests.fuzz.table import table
from tests.fuzz.worker import Inputs


@pytest.mark.timeout(900)
def test_damaged_files_are_refused_or_read_right(tmp_path):
    kinds = [name for name, kind in KINDS.items() if not kind.trained]
    campaign = Campaign(kinds, seed=1, keep=tmp_path, workers=1)
    campaign.run(most=30)
    document = campaign.document(0)
    assert document["inputs"] == 30 * len(kinds)
    assert not campaign.wrong, table(document)
    # What is damaged is seldom read as if nothing had happened: the damage arrives.
    assert sum(counts["refused"] + counts["different"] for counts in campaign.counts.values()) > 300


class Reader:
    errors = (DataError,)
    whole = frozenset({"whole"})

    def __init__(self, answer):
        self.answer = answer

    def read(self, folder):
        if isinstance(self.answer, str):
            return self.answer
        raise self.answer


@pytest.mark.parametrize(
    ("answer", "covered", "outcome"),
    [
        ("whole", True, "right"),
        ("other", False, "different"),
        ("other", True, "unnoticed"),
        (Unnoticed("nan"), False, "unnoticed"),
        (DataError("x.png is damaged"), True, "refused"),
        (MadeAnew(), True, "refused"),
        (StoreError("x.png is damaged"), True, "misnamed"),
        (KeyError("x"), False, "traceback"),
        (OSError("x"), False, "traceback"),
        (SystemExit(0), False, "traceback"),
        (MemoryError(), False, "memory"),
    ],
)
def test_what_a_reader_does_is_told_apart(tmp_path, answer, covered, outcome):
    assert Inputs._read(Reader(answer), tmp_path, covered)[0] == outcome


def test_a_process_that_dies_is_replaced(tmp_path):
    slot = Slot(tmp_path, tmp_path / "home", seed=0)
    found = []
    jobs = iter([("no such kind", 1, False), ("csv", 1, False)])
    pool.run_all([slot], lambda slot: next(jobs, None), lambda slot, result: found.append(result))
    assert [result["outcome"] == "crash" for result in found] == [True, False]
    assert "KeyError" in found[0]["said"]


def test_a_process_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_LIMIT", 0.0)
    monkeypatch.setattr(pool, "_PREPARE", 0.0)
    slot = Slot(tmp_path, tmp_path / "home", seed=0)
    found = []
    jobs = iter([("csv", 1, False)])
    pool.run_all([slot], lambda slot: next(jobs, None), lambda slot, result: found.append(result))
    assert [result["outcome"] for result in found] == ["hang"]


def test_an_input_is_the_same_again(tmp_path):
    (tmp_path / "originals").mkdir()
    inputs = Inputs(tmp_path / "originals", tmp_path / "home", seed=3)
    first = [inputs.run("csv", number) for number in range(1, 4)]
    content = (tmp_path / "home" / "input" / "fer.csv").read_bytes()
    again = inputs.run("csv", 3)
    assert (again["how"], again["outcome"]) == (first[-1]["how"], first[-1]["outcome"])
    assert (tmp_path / "home" / "input" / "fer.csv").read_bytes() == content
