"""What is made again when something changes, and what is not: the whole table."""

from dataclasses import replace

import pytest

from cnnboost import stages
from cnnboost.stages.distillation import distill

HEADS = {"plain", "residual", "bundle"}
ALL = HEADS | {"cnn", "features", "teacher"}


#: Each brings one output up to date, after all that it needs, and tells whether it was up to date.
STAGES = {
    "cnn": lambda job: stages.train(job).cached,
    "features": lambda job: stages.extract(job, ["fc1"], ["train"])["train"].stored["fc1"].cached,
    "plain": lambda job: stages.fit_boost(job, "fc1").cached,
    "residual": lambda job: stages.fit_hybrid(job, "fc1", mode="residual").head.cached,
    "bundle": lambda job: stages.export(job, "fc1", mode="plain").cached,
    "teacher": lambda job: distill(job).cached,
}


def made(job):
    """Bring everything up to date; return what was not."""
    return {name for name, is_cached in STAGES.items() if not is_cached(job)}


def written(job):
    return {
        path: path.stat().st_mtime_ns
        for path in job.models.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture(scope="module")
def walked(job_in, tmp_path_factory):
    job = job_in(tmp_path_factory.mktemp("walked"))
    assert made(job) == ALL - {"cnn"}
    return job


@pytest.fixture
def copied(walked, copy_of, tmp_path):
    return copy_of(walked, tmp_path)


@pytest.mark.parametrize(
    ("tables", "again"),
    [
        ({}, set()),  # the folder is another one than it was made in
        ({"data": {"seed": 1}}, ALL),
        ({"cnn": {"epochs": 1}}, ALL),
        ({"cut": {"layers": ("fc2",), "layer": "fc2"}}, {"bundle"}),
        ({"boost": {"max_depth": 3}}, HEADS),
        ({"boost": {"device": "cpu"}}, {"bundle"}),
        ({"hybrid": {"views": 2}}, {"residual", "bundle"}),
        ({"hybrid": {"boost": {"max_depth": 3}}}, {"residual", "bundle"}),
        ({"compare": {"seed": 1}}, {"residual"}),
        ({"evaluate": {"seed": 1, "resamples": 50}, "bench": {"repeats": 3}}, set()),
        ({"export": {"int8": True}}, {"bundle"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "-".join(sorted(value)),
)
def test_a_changed_value(copied, change, tables, again):
    before = written(copied)
    assert made(change(copied, **tables)) == again
    assert (written(copied) == before) == (not again)


# Two files at a time, neither of which has a part in what the other belongs to.
@pytest.mark.parametrize(
    ("files", "again"),
    [
        # Its weights are the same, its file is not.
        (["cnn.keras"], {"cnn", "residual", "bundle", "teacher"}),
        (["features/*/part-00000.npy", "hybrid.onnx"], {"features", "bundle"}),
        (["heads/fc1-residual.ubj", "teacher.npz"], {"residual", "teacher"}),
        (["heads/fc1-plain.ubj"], {"plain"}),
    ],
)
@pytest.mark.parametrize("how", ["altered", "lost"])
def test_files(copied, files, again, how):
    for path in [path for file in files for path in copied.models_dir.glob(file)]:
        content = path.read_bytes()
        path.unlink()
        if how == "altered":
            half = len(content) // 2
            path.write_bytes(content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :])
    assert made(copied) == again


@pytest.mark.parametrize("stage", STAGES)
def test_force_makes_one_stage_again_and_none_before_it(copied, stage):
    before = [STAGES[name] for name in list(STAGES)[: list(STAGES).index(stage)]]
    files = written(copied)
    assert not STAGES[stage](replace(copied, force=True))
    assert written(copied) != files
    assert all(is_cached(copied) for is_cached in before)
