"""Features that workers make: the same bytes whoever made which part, whatever happened meanwhile."""

import os
import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest

from cnnboost import stages
from cnnboost.config import load_recipe
from cnnboost.errors import ClusterError, StoreError
from cnnboost.features.store import StoreWarning
from cnnboost.files import read_json
from cnnboost.stages.on_cluster import cluster_of
from tests.cluster.test_connection import limited_files
from tests.dask_processes import DaskProcesses
from tests.waiting import wait_until

PARTS = 12  # of 512 images


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return an image set of noise, of which features come in many parts."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("source") / "noise.npz"
    n = PARTS * 512 - 100
    np.savez(path, X=rng.integers(0, 256, (n, 8, 8, 1), np.uint8), y=np.arange(n) % 10)
    return path


@pytest.fixture
def job(source, toy_file, recipe_file, tmp_path, monkeypatch, client):
    """Return a job on the cluster with the toy CNN, whose parts are small."""
    monkeypatch.setattr("cnnboost.features.store.FeatureStore.__init__.__kwdefaults__", {"part_rows": 512})
    recipe = load_recipe(recipe_file, ["data.validation_fraction=0"])
    return stages.Job(
        recipe=recipe, data=source, model=toy_file, models=tmp_path / "models", reports=tmp_path / "reports",
        client=client,
    )  # fmt: skip


def bytes_of(extracted):
    """Return the names and the bytes of the parts, and of the manifests."""
    return {
        (layer, path.name): path.read_bytes()
        for part in extracted.values()
        for layer, stored in part.stored.items()
        for path in [*stored.parts, stored.parts[0].parent / "manifest.json"]
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the models folder of an extraction that nothing disturbs."""
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture
def wanted(job, undisturbed):
    """Return the bytes that an undisturbed extraction makes; all but the first find them."""
    return bytes_of(stages.extract(replace(job, models=undisturbed), ["fc1", "output"]))


def after_first_part(job, do):
    """Return a job that does something once a part is there."""
    from contextlib import contextmanager

    @contextmanager
    def progress(what, unit):
        def report(done, total):
            if done and do:
                do.pop()()

        yield report

    do = [do]
    return replace(job, progress=progress)


def test_features_are_those_of_keras_up_to_rounding(job, wanted, undisturbed, tmp_path):
    alone = stages.extract(replace(job, client=None, models=tmp_path / "alone"), ["fc1", "output"])
    ours = stages.extract(replace(job, models=undisturbed), ["fc1", "output"])["train"].stored
    for layer, stored in alone["train"].stored.items():
        assert ours[layer].cached
        assert [path.name for path in ours[layer].parts] == [path.name for path in stored.parts]
        np.testing.assert_allclose(ours[layer].X, stored.X, rtol=1e-4, atol=1e-4)
        # One key: heads, exports and comparisons that run here find what workers made.
        assert ours[layer].spec.key == stored.spec.key
    assert len(stored.parts) == PARTS
    manifest = read_json(ours["fc1"].parts[0].parent / "manifest.json")
    assert "onnxruntime" in manifest["made_with"]
    assert "tensorflow" not in manifest["made_with"]


def test_a_worker_that_is_killed_changes_no_byte(job, wanted, pids, stopped):
    cluster_of(job)
    victim = next(iter(pids.values()))
    with stopped(victim):  # its parts cannot be finished by it
        done = stages.extract(
            after_first_part(job, lambda: os.kill(victim, signal.SIGKILL)), ["fc1", "output"]
        )
    assert bytes_of(done) == wanted


def test_what_is_there_when_the_client_ends_is_not_made_again(job, wanted):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.extract(after_first_part(job, stop), ["fc1", "output"])
    wait_until(lambda: not any(job.client.processing().values()))
    (one, *_) = (job.models_dir / "features").glob("*.part")
    listed = read_json(one / "manifest.json")["parts"]
    there = [number for number, record in enumerate(listed) if record]
    assert 1 <= len(there) < PARTS
    stamps = {number: (one / f"part-{number:05}.npy").stat().st_mtime_ns for number in there}
    done = stages.extract(job, ["fc1", "output"])
    assert bytes_of(done) == wanted
    folder = one.with_suffix("")
    assert stamps == {number: (folder / f"part-{number:05}.npy").stat().st_mtime_ns for number in there}


def test_a_part_that_was_altered_is_made_again_alone(job, wanted):
    parts = stages.extract(job, ["fc1", "output"])["train"].stored["fc1"].parts
    stamps = [path.stat().st_mtime_ns for path in parts]
    damaged = bytearray(parts[3].read_bytes())
    damaged[-1] ^= 1
    parts[3].write_bytes(damaged)
    with pytest.warns(StoreWarning, match=r"part-00003\.npy was altered"):
        done = stages.extract(job, ["fc1", "output"])
    assert bytes_of(done) == wanted
    again = [path.stat().st_mtime_ns for path in parts]
    assert [old == new for old, new in zip(stamps, again, strict=True)] == [i != 3 for i in range(PARTS)]


def test_what_keras_began_is_not_continued_by_another_runtime(job, wanted):
    alone = replace(job, client=None)
    with pytest.raises(KeyboardInterrupt):
        stages.extract(after_first_part(alone, lambda: (_ for _ in ()).throw(KeyboardInterrupt)), ["fc1"])
    with pytest.warns(StoreWarning, match="other library versions"):
        assert bytes_of(stages.extract(job, ["fc1", "output"])) == wanted


def test_a_worker_whose_disk_is_full_gets_no_more_parts(processes, job, wanted, pids, caplog):
    """Its files may have as many bytes as a token has, and fewer than a part."""
    other = processes.worker("--no-nanny", preexec_fn=limited_files(20_000))
    try:
        wait_until(lambda: len(job.client.nthreads()) == 3)
        assert bytes_of(stages.extract(job, ["fc1", "output"])) == wanted
        assert "makes no more features" in caplog.text
        assert "File too large" in caplog.text
    finally:
        other.kill()
        wait_until(lambda: len(job.client.nthreads()) == 2)


@pytest.mark.slow
def test_where_every_disk_is_full_the_reason_is_told(tmp_path_factory, job, monkeypatch):
    from cnnboost.cluster.connection import connected

    processes = DaskProcesses(tmp_path_factory.mktemp("full"))
    try:
        processes.worker("--no-nanny", preexec_fn=limited_files(20_000))
        with connected(processes.address) as client:
            with pytest.raises(StoreError, match=r"part-00000\.npy cannot be written: File too large"):
                stages.extract(replace(job, client=client), ["fc1"])
            # The same cluster, of which nobody is left.
            monkeypatch.setattr("cnnboost.cluster.connection.ANSWER_SECONDS", 1)
            for process in processes.processes[1:]:
                process.kill()
            wait_until(lambda: not client.nthreads())
            with pytest.raises(ClusterError, match="no worker has joined"):
                stages.extract(replace(job, client=client), ["fc1"])
    finally:
        processes.close()


def test_parts_of_wide_layers_go_along_with_those_of_narrow_ones(tmp_path):
    from cnnboost.features.part_table import PartTable, pieces_of
    from cnnboost.features.parts import FeatureSpec, check_here

    def table(number, width):
        spec = FeatureSpec(layer=str(number), trunk=str(number), width=width, pixels="", images="", rows=9000)
        return PartTable(tmp_path / str(number), spec, 512, 4096, False, {}, check_here)

    # 64 MiB are 1,024 rows of 16,384 features, and 2,795 of 6,000, which do not fit 4,096.
    tables = {0: table(0, 10), 1: table(1, 16384), 2: table(2, 6000)}
    assert [tables[number].size for number in tables] == [4096, 1024, 3072]
    pieces = [[(part.table, part.start, part.stop) for part in piece] for piece in pieces_of(tables)]
    assert pieces == [
        [(0, 0, 4096), (1, 0, 1024), (1, 1024, 2048), (1, 2048, 3072), (1, 3072, 4096)],
        [(0, 4096, 8192), (1, 4096, 5120), (1, 5120, 6144), (1, 6144, 7168), (1, 7168, 8192)],
        [(0, 8192, 9000), (1, 8192, 9000)],
        [(2, 0, 3072)],
        [(2, 3072, 6144)],
        [(2, 6144, 9000)],
    ]


def test_warnings_are_none_where_nothing_is_wrong(job):
    with warnings.catch_warnings():
        warnings.simplefilter("error", StoreWarning)
        stages.extract(job, ["fc1"])
        assert stages.extract(job, ["fc1"])["train"].stored["fc1"].cached
