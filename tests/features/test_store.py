"""The feature store: keys, resuming, locks, verification, a full disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnboost
from cnnboost.errors import FeatureError, StoreError
from cnnboost.features import parts
from cnnboost.features.store import FeatureSpec, FeatureStore, StoreWarning
from cnnboost.files import file_digest, read_json, write_json

SPEC = FeatureSpec("fc1", trunk="ab12", width=3, pixels="raw", images="cd34", rows=20)
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and limits")


def values(spec: FeatureSpec) -> np.ndarray:
    """The features that a spec stands for, in these tests: a function of its trunk alone."""
    rng = np.random.default_rng(int(hashlib.sha256(spec.trunk.encode()).hexdigest()[:8], 16))
    return rng.normal(size=(spec.rows, spec.width)).astype(np.float32)


class Computer:
    """Computes blocks of `values`, notes every call, and can stop at a row."""

    def __init__(self, *specs: FeatureSpec, stop_at: int | None = None, error: type = KeyboardInterrupt):
        self.specs, self.stop_at, self.error = specs, stop_at, error
        self.calls: list[tuple[int, int, tuple[int, ...]]] = []

    def __call__(self, start: int, stop: int, wanted: tuple[int, ...]) -> list[np.ndarray]:
        if self.stop_at is not None and start <= self.stop_at < stop:
            raise self.error("stopped by the test")
        self.calls.append((start, stop, wanted))
        return [values(self.specs[index])[start:stop] for index in wanted]


def make(root, spec: FeatureSpec = SPEC, chunk: int = 4, **options):
    computer = Computer(spec)
    [stored] = FeatureStore(root, part_rows=8).extract([spec], computer, chunk=chunk, **options)
    return stored, computer


def names(root: Path) -> set[str]:
    """Everything in the store but the locks."""
    return {path.name for path in Path(root).iterdir() if path.suffix != ".lock"}


def test_key_says_what_the_values_depend_on_and_nothing_else():
    assert SPEC.key == "6c18b9d4d3ed0c30adb13ae6b74a502f3eb6109808da2b7a3a58de9c6d995ec9"
    assert replace(SPEC, layer="dense_7").key == SPEC.key
    changes = {"trunk": "x", "width": 4, "pixels": "unit", "images": "x", "rows": 21, "view": "flip"}
    others = {replace(SPEC, **{name: value}).key for name, value in changes.items()}
    assert len(others - {SPEC.key}) == 6


class TestMaking:
    @given(
        rows=st.integers(1, 40),
        width=st.integers(1, 5),
        chunk=st.integers(1, 50),
        part_rows=st.integers(1, 50),
    )
    @settings(max_examples=25, deadline=None)
    def test_parts_are_plain_npy_files_with_the_rows_in_order(self, rows, width, chunk, part_rows):
        spec = replace(SPEC, rows=rows, width=width)
        with tempfile.TemporaryDirectory() as root:
            computer = Computer(spec)
            [stored] = FeatureStore(root, part_rows=part_rows).extract([spec], computer, chunk=chunk)
            np.testing.assert_array_equal(stored.X, values(spec))
            arrays = [np.load(path) for path in stored.parts]
            np.testing.assert_array_equal(np.concatenate(arrays), values(spec))
            assert all(part_rows <= len(array) < part_rows + chunk for array in arrays[:-1])
            assert stored.path == (stored.parts[0] if len(arrays) == 1 else stored.parts[0].parent)
            assert [start for start, _, _ in computer.calls] == list(range(0, rows, chunk))
            assert (stored.cached, stored.resumed_from) == (False, 0)

    def test_a_part_has_a_largest_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr(parts, "PART_BYTES", 2 * SPEC.width * 4)
        assert [len(array) for array in make(tmp_path, chunk=1)[0].arrays()] == [2] * 10

    def test_second_time_nothing_is_computed_and_x_is_read_only(self, tmp_path):
        assert FeatureStore(tmp_path / "a").get(SPEC) is None
        assert not (tmp_path / "a").exists()
        make(tmp_path / "a")
        make(tmp_path / "a", replace(SPEC, rows=5))
        (tmp_path / "a").rename(tmp_path / "b")
        for rows in (20, 5):  # of several parts, and of one
            stored, computer = make(tmp_path / "b", replace(SPEC, rows=rows))
            assert stored.cached
            assert not computer.calls
            with pytest.raises(ValueError, match="read-only"):
                stored.X[0, 0] = 1
        assert isinstance(stored.X, np.memmap)

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_read_only_store_can_be_used(self, tmp_path):
        make(tmp_path)
        tmp_path.chmod(0o555)
        try:
            assert make(tmp_path)[0].cached
            with pytest.raises(StoreError, match="cannot be written"):
                make(tmp_path, replace(SPEC, trunk="other"))
        finally:
            tmp_path.chmod(0o755)

    def test_a_file_where_the_store_should_be_is_named(self, tmp_path):
        (tmp_path / "store").write_text("not a folder")
        with pytest.raises(StoreError, match=r"store/.*cannot be written"):
            make(tmp_path / "store")

    def test_the_manifest_says_what_they_were_made_from(self, tmp_path):
        stored, _ = make(tmp_path, details={"model": "cnn.keras"})
        manifest = read_json(stored.path / "manifest.json")
        assert FeatureSpec(**manifest["spec"]) == SPEC
        assert (manifest["format"], manifest["key"]) == (2, SPEC.key)
        assert manifest["details"] == {"model": "cnn.keras"}
        assert manifest["parts"] == [
            {"rows": rows, "sha256": file_digest(path)}
            for rows, path in zip((8, 8, 4), stored.parts, strict=True)
        ]
        assert manifest["made_with"]["numpy"] == np.__version__

    def test_several_layers_in_one_pass_and_only_the_missing_ones(self, tmp_path):
        flatten, fc1, output = (
            replace(SPEC, layer=name, trunk=name, width=width)
            for name, width in (("flatten", 9), ("fc1", 4), ("output", 7))
        )
        make(tmp_path, fc1)
        # The last is another name of the first.
        specs = [flatten, fc1, output, replace(flatten, layer="../pool")]
        computer = Computer(*specs)
        made = FeatureStore(tmp_path).extract(specs, computer, chunk=6)
        assert {wanted for _, _, wanted in computer.calls} == {(0, 2)}
        assert [stored.cached for stored in made] == [False, True, False, False]
        assert [stored.spec for stored in made] == specs
        assert made[3].path == made[0].path
        for stored, spec in zip(made, specs, strict=True):
            np.testing.assert_array_equal(stored.X, values(spec))

    def test_progress_counts_rows(self, tmp_path):
        seen: list[tuple[int, int]] = []
        make(tmp_path, chunk=8, progress=lambda done, total: seen.append((done, total)))
        assert seen == [(0, 20), (8, 20), (16, 20), (20, 20)]

    def test_export_is_the_same_array_under_a_plain_name(self, tmp_path):
        stored, _ = make(tmp_path / "store")
        out = tmp_path / "out" / "train-fc1.npy"
        for _ in range(2):
            assert stored.export(out) == out
            np.testing.assert_array_equal(np.load(out), values(SPEC))
        assert names(out.parent) == {"train-fc1.npy"}
        small, _ = make(tmp_path / "store", replace(SPEC, rows=3))
        assert small.export(small.path) == small.path
        assert make(tmp_path / "store", replace(SPEC, rows=3))[0].cached
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"x\.npy cannot be written"):
            stored.export(tmp_path / "file" / "x.npy")


class TestRefusals:
    @pytest.mark.parametrize("bad", [np.nan, -np.inf])
    def test_a_value_that_is_not_finite_is_named_and_not_stored(self, tmp_path, bad):
        def compute(start, stop, wanted):
            block = values(SPEC)[start:stop]
            if start <= 13 < stop:
                block[13 - start, 2] = bad
            return [block]

        store = FeatureStore(tmp_path)
        ids = [f"face{i:02}.png" for i in range(20)]
        with pytest.raises(FeatureError, match=rf"'fc1' gives {bad} for row 13 \(face13.png\), column 2"):
            store.extract([SPEC], compute, chunk=4, ids=ids)
        assert store.get(SPEC) is None
        stored, _ = make(tmp_path)
        assert stored.resumed_from == 12
        np.testing.assert_array_equal(stored.X, values(SPEC))

    @pytest.mark.parametrize("give", [lambda block: block.astype(np.float64), lambda block: block[:, :2]])
    def test_another_shape_or_dtype_is_refused(self, tmp_path, give):
        with pytest.raises(FeatureError, match=r"'fc1' gave .* where float32 \(4, 3\) was promised"):
            FeatureStore(tmp_path).extract([SPEC], lambda *_: [give(values(SPEC)[:4])], chunk=4)

    def test_more_than_the_disk_holds_is_refused_with_both_numbers(self, tmp_path):
        free = shutil.disk_usage(tmp_path).free
        spec = replace(SPEC, width=1 << 20, rows=free // (1 << 21))
        computer = Computer(spec)
        with pytest.raises(StoreError, match=r"needs [\d,]+ bytes and [\d,]+ are free"):
            FeatureStore(tmp_path).extract([spec], computer, chunk=1)
        assert not computer.calls
        assert names(tmp_path) == set()


def _flip(path: Path, at: int = -7) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def _change(folder: Path, **values) -> None:
    write_json(folder / "manifest.json", {**read_json(folder / "manifest.json"), **values})


def _of_others(folder: Path) -> None:
    other, _ = make(folder.parent / "elsewhere", replace(SPEC, trunk="other"))
    shutil.copy(other.path / "manifest.json", folder)


def _forged(rows: int):
    """Put in a part of fewer rows, and its right checksum into the manifest."""

    def forge(folder: Path) -> None:
        np.save(folder / "part-00001.npy", values(SPEC)[:rows])
        records = read_json(folder / "manifest.json")["parts"]
        records[1] = {"rows": rows, "sha256": file_digest(folder / "part-00001.npy")}
        _change(folder, parts=records)

    return forge


def _saved(array: np.ndarray):
    return lambda folder: np.save(folder / "part-00001.npy", array)


WHOLE = r"part-00001.npy is not a whole file of float32 \(8, 3\)"
DAMAGE = [
    (lambda folder: _flip(folder / "part-00001.npy"), "part-00001.npy was altered"),
    (lambda folder: (folder / "part-00001.npy").unlink(), "part-00001.npy cannot be read"),
    (_forged(7), "its parts have (19|15) rows instead of 20"),
    (lambda folder: _change(folder, parts=[{"rows": "8"}]), "does not list its parts"),
    (lambda folder: _change(folder, parts=None), "does not list its parts"),
    (lambda folder: (folder / "manifest.json").unlink(), "missing, damaged or altered"),
    (lambda folder: (folder / "manifest.json").write_text('{"format": 2'), "missing, damaged or altered"),
    (_of_others, "belongs to other features"),
    (lambda folder: _change(folder, format=99), "format 99"),
]


class TestDamage:
    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            *DAMAGE,
            (lambda folder: os.truncate(folder / "part-00001.npy", 160), WHOLE),
            (lambda folder: os.truncate(folder / "part-00001.npy", 0), WHOLE),
            (_saved(np.zeros((3, 8), np.float32)), WHOLE),
            (_saved(np.array([{}] * 24)), WHOLE),
        ],
    )
    def test_it_is_found_named_and_made_again(self, tmp_path, damage, reason):
        stored, _ = make(tmp_path)
        damage(stored.path)
        with pytest.warns(StoreWarning, match=rf"{stored.path.name} is not used: .*{reason}") as warned:
            again, computer = make(tmp_path)
        assert len(warned) == 1
        assert len(computer.calls) == 5
        np.testing.assert_array_equal(again.X, values(SPEC))
        assert make(tmp_path)[0].cached


def interrupted(root: Path, stop_at: int = 12) -> Path:
    with pytest.raises(KeyboardInterrupt):
        FeatureStore(root, part_rows=4).extract([SPEC], Computer(SPEC, stop_at=stop_at), chunk=4)
    path = FeatureStore(root).path(SPEC)
    return path.with_name(path.name + ".part")


class TestInterruption:
    @given(
        rows=st.integers(2, 40),
        chunk=st.integers(1, 9),
        stop=st.floats(0, 1, exclude_max=True),
        error=st.sampled_from([KeyboardInterrupt, MemoryError, RuntimeError]),
    )
    @settings(max_examples=30, deadline=None)
    def test_the_rows_that_are_finished_are_not_computed_again(self, rows, chunk, stop, error):
        specs = [
            replace(SPEC, rows=rows, layer=name, trunk=name, width=w) for name, w in (("fc1", 3), ("fc2", 2))
        ]
        stop_at = int(stop * rows)
        with tempfile.TemporaryDirectory() as root:
            store = FeatureStore(root)
            with pytest.raises(error, match="stopped by the test"):
                store.extract(specs, Computer(*specs, stop_at=stop_at, error=error), chunk=chunk)
            assert all(store.get(spec) is None for spec in specs)
            computer = Computer(*specs)
            made = store.extract(specs, computer, chunk=chunk)
            done = stop_at // chunk * chunk
            assert computer.calls[0][0] == done
            assert {stored.resumed_from for stored in made} == {done}
            assert names(root) == {spec.key[:16] for spec in specs}
            for stored, spec in zip(made, specs, strict=True):
                np.testing.assert_array_equal(stored.X, values(spec))

    def test_the_lowest_row_is_where_several_layers_go_on(self, tmp_path):
        specs = [replace(SPEC, layer=name, trunk=name) for name in ("fc1", "fc2")]
        store = FeatureStore(tmp_path)
        for spec, stop_at in zip(specs, (12, 4), strict=True):
            with pytest.raises(KeyboardInterrupt):
                store.extract([spec], Computer(spec, stop_at=stop_at), chunk=4)
        computer = Computer(*specs)
        made = store.extract(specs, computer, chunk=4)
        assert [start for start, _, _ in computer.calls] == [4, 8, 12, 16]
        for stored, spec in zip(made, specs, strict=True):
            np.testing.assert_array_equal(stored.X, values(spec))
            assert store.get(spec).cached

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            *DAMAGE,
            (lambda folder: _change(folder, made_with={}), "other library versions"),
            (lambda folder: _change(folder, chunk=5), "steps of 5 rows, and now they are 4"),
            (_forged(3), "its parts have 11 rows instead of 20"),
        ],
    )
    def test_a_damaged_beginning_is_not_continued(self, tmp_path, damage, reason):
        damage(interrupted(tmp_path))
        with pytest.warns(StoreWarning, match=f"begun again: .*{reason}"):
            stored, computer = make(tmp_path)
        assert computer.calls[0][0] == 0
        np.testing.assert_array_equal(stored.X, values(SPEC))
        assert make(tmp_path)[0].cached

    def test_a_part_without_a_record_does_not_matter(self, tmp_path):
        (interrupted(tmp_path) / "part-00003.npy").write_bytes(b"half")
        stored, _ = make(tmp_path)
        assert stored.resumed_from == 12
        np.testing.assert_array_equal(stored.X, values(SPEC))

    def test_a_folder_in_place_of_a_part_is_named(self, tmp_path):
        (interrupted(tmp_path) / "part-00003.npy").mkdir()
        with pytest.raises(StoreError, match=r"part-00003.npy cannot be written: "):
            make(tmp_path)

    def test_a_crash_between_the_two_renames_is_completed_without_computing(self, tmp_path):
        stored, _ = make(tmp_path)
        stored.path.rename(stored.path.with_name(stored.path.name + ".part"))
        shutil.copytree(tmp_path / (stored.path.name + ".part"), tmp_path / (stored.path.name + ".old"))
        assert FeatureStore(tmp_path).get(SPEC) is None
        again, computer = make(tmp_path)
        assert not computer.calls
        assert again.resumed_from == 20
        np.testing.assert_array_equal(again.X, values(SPEC))
        assert names(tmp_path) == {stored.path.name}

    def test_force_computes_again_and_leaves_the_old_features_until_then(self, tmp_path):
        make(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            FeatureStore(tmp_path).extract([SPEC], Computer(SPEC, stop_at=9), chunk=4, force=True)
        assert make(tmp_path)[0].cached
        stored, computer = make(tmp_path, force=True)
        assert not stored.cached
        assert len(computer.calls) == 5
        assert make(tmp_path)[0].cached


WORKER = """
import logging, sys
from pathlib import Path
import numpy as np
from cnnboost.features.store import FeatureSpec, FeatureStore

root, log, rows, width, chunk, mode = sys.argv[1:]
spec = FeatureSpec("fc1", trunk="ab12", width=int(width), pixels="raw", images="cd34", rows=int(rows))
logging.basicConfig(stream=sys.stdout, format="%(message)s", level="INFO")

def say(text):
    print(text, flush=True)

def compute(start, stop, wanted):
    with open(log, "a") as lines:
        lines.write(f"{start}\\n")
    if mode in ("step", "loud"):
        say(f"at {start}")
    if mode == "step":  # one line from the test lets one chunk through
        sys.stdin.readline()
    if mode == "fills" and start == 2000:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    block = np.arange(start, stop, dtype=np.float32)[:, None] + np.arange(spec.width, dtype=np.float32) / 8
    return [block.astype(np.float32)] * len(wanted)

store = FeatureStore(root, part_rows=int(chunk))
[stored] = store.extract([spec], compute, chunk=int(chunk))
if mode == "memory":
    import resource
    say(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
else:
    say(f"cached={stored.cached} from={stored.resumed_from}")
"""


def start(root: Path, log: Path, rows: int, width: int, chunk: int, mode: str = "run") -> subprocess.Popen:
    here = Path(cnnboost.__file__).parents[1]
    search = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, (root, log, rows, width, chunk, mode))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search},
    )


def finished(worker: subprocess.Popen) -> str:
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    return out.strip()


def let_through(worker: subprocess.Popen) -> None:
    worker.stdin.write("\n")
    worker.stdin.flush()


@pytest.fixture
def stepping(tmp_path):
    """Return a process that has made its first ten of thirty rows, and waits to make the next."""
    worker = start(tmp_path / "store", tmp_path / "log", 30, 4, 10, "step")
    assert worker.stdout.readline() == "at 0\n"
    let_through(worker)
    assert worker.stdout.readline() == "at 10\n"
    return worker


@posix_only
class TestProcesses:
    def test_kill_9_at_any_moment_again_and_again(self, tmp_path):
        """Kills at moments that nobody chose: whatever the process was doing, the file comes out whole."""
        root, log = tmp_path / "store", tmp_path / "log"
        kills = 0
        for chunks in (1, 20, 7):
            worker = start(root, log, 3000, 16, 50, "loud")
            for _ in range(chunks):
                worker.stdout.readline()
            worker.kill()
            kills += worker.wait(timeout=60) == -signal.SIGKILL
            worker.communicate()
        assert kills
        finished(start(root, log, 3000, 16, 50))
        wanted = np.arange(3000, dtype=np.float32)[:, None] + np.arange(16, dtype=np.float32) / 8
        np.testing.assert_array_equal(FeatureStore(root).get(replace(SPEC, rows=3000, width=16)).X, wanted)
        # Each kill cost at most the chunk in work and the one not yet recorded.
        assert len(log.read_text().split()) <= 60 + 2 * 3

    @pytest.mark.parametrize("killed", [True, False])
    def test_who_waits_takes_over_what_is_finished(self, tmp_path, stepping, killed):
        root, log = tmp_path / "store", tmp_path / "log"
        second = start(root, log, 30, 4, 10)
        assert second.stdout.readline().startswith("another process is making")
        if killed:
            stepping.kill()
            assert stepping.wait(timeout=60) == -signal.SIGKILL
            stepping.communicate()
            assert {Path(name).suffix for name in names(root)} == {".part"}
            assert finished(second) == "cached=False from=10"
            assert log.read_text().split() == ["0", "10", "10", "20"]
        else:
            for _ in range(2):
                let_through(stepping)
            assert finished(stepping).endswith("cached=False from=0")
            assert finished(second) == "cached=True from=0"
            assert log.read_text().split() == ["0", "10", "20"]

    def test_ctrl_c_does_not_lose_the_finished_rows(self, tmp_path, stepping):
        stepping.send_signal(signal.SIGINT)
        _, err = stepping.communicate(timeout=60)
        assert "KeyboardInterrupt" in err
        assert finished(start(tmp_path / "store", tmp_path / "log", 30, 4, 10)) == "cached=False from=10"

    def test_nor_does_a_disk_that_fills_up_in_the_middle(self, tmp_path):
        root, log = tmp_path / "store", tmp_path / "log"
        worker = start(root, log, 5000, 20, 1000, "fills")
        _, err = worker.communicate(timeout=60)
        assert worker.returncode == 1, "a signal ended it" if worker.returncode < 0 else err
        last = err.strip().splitlines()[-1]
        for words in ("StoreError", "80,000 bytes are needed", "Finished rows are kept"):
            assert words in last
        assert finished(start(root, log, 5000, 20, 1000)) == "cached=False from=2000"
        assert log.read_text().split() == ["0", "1000", "2000", "2000", "3000", "4000"]

    def test_memory_does_not_grow_with_the_rows(self, tmp_path):
        small, large = (
            int(finished(start(tmp_path / str(rows), tmp_path / "log", rows, 256, 1000, "memory")))
            for rows in (2_000, 50_000)
        )
        unit = 1 if sys.platform == "darwin" else 1024
        assert (large - small) * unit < 20e6, "50 MB of features must not be in memory"
