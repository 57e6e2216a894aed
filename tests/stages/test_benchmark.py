import tempfile
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.config import Recipe, load_recipe
from cnnboost.errors import CnnboostError, DataError, LayerError, ParameterError, RecipeError
from cnnboost.stages import benchmark
from cnnboost.stages.benchmark import bench, check_batches


class TestBatches:
    @pytest.mark.parametrize("size", [0, -1, "x", 1.5, "", "²", None, True])
    def test_impossible_ones_are_named(self, size):
        with pytest.raises(ParameterError, match="from 1, or 'all'"):
            check_batches([1, size])

    def test_none_at_all(self):
        with pytest.raises(ParameterError, match="at least one"):
            check_batches([])

    @given(st.lists(st.one_of(st.integers(1, 500), st.just("all")), min_size=1))
    def test_each_is_timed_once_in_ascending_order(self, sizes):
        class FiveHundred(SimpleNamespace):
            def __len__(self):
                return 500

        found = benchmark._sizes(check_batches(list(map(str, sizes))), FiveHundred(name="test"), stated=True)
        assert found == sorted({500 if size == "all" else size for size in sizes})

    def test_more_than_there_are(self, job):
        n = len(job.images.validation)
        with pytest.raises(DataError, match=rf"{n + 1} images .*{n} images of 'validation'"):
            bench(job, batches=[1, n + 1])
        assert not (job.models_dir / "heads").exists()

    @pytest.mark.parametrize(("asked", "left"), [((1, 100_000, "all"), [1, 539]), ((100_000,), [539])])
    def test_those_of_the_recipe_that_are_too_large_are_left_out(self, job, caplog, asked, left):
        with caplog.at_level("INFO", "cnnboost"):
            assert benchmark._sizes(asked, job.images.validation, stated=False) == left
        assert "left out: batches of 100000, validation has 539 images" in caplog.text


class TestRecipe:
    def test_defaults(self):
        metadata = load_recipe().bench
        assert metadata.batches == (1, 8, 64, 512, "all")
        assert (metadata.repeats, metadata.threads) == (5, None)

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("bench.batches=[0]", r"\[bench\] batches .*0 is not a batch size"),
            ('bench.batches=["most"]', "'most' is not a batch size"),
            ("bench.batches=[]", "list of batch sizes"),
            ("bench.batches=8", "list of batch sizes"),
            ("bench.batches=[true]", "(?i)true is not a batch size"),
            ("bench.repeats=0", r"\[bench\] repeats = 0"),
            ("bench.threads=0", r"\[bench\] threads = 0"),
            ("bench.seconds=0", r"\[bench\] seconds = 0"),
            ("bench.batch=[1]", "did you mean 'batches'"),
        ],
    )
    def test_impossible_values_are_named(self, override, words):
        with pytest.raises(RecipeError, match=words):
            load_recipe("digits", [override])

    def test_how_it_is_timed_is_not_part_of_what_is_timed(self):
        one, other = Recipe(name="x"), Recipe(name="x", bench={"repeats": 9})
        assert one.digest("data", "cnn", "cut", "boost") == other.digest("data", "cnn", "cut", "boost")


@pytest.mark.parametrize("name", ["repeats", "threads"])
def test_other_impossible_numbers(job, name):
    with pytest.raises(ParameterError, match=f"{name}=0"):
        bench(job, **{name: 0})


def test_an_unknown_layer(job):
    with pytest.raises(LayerError, match="'fc7'"):
        bench(job, "fc7", batches=[1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, CnnboostError])
def test_nothing_is_half_written(job, error, monkeypatch, tmp_path):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))

    def stopped(self):
        raise error

    monkeypatch.setattr(benchmark.WorkerPool, "__enter__", stopped)
    with pytest.raises(error):
        bench(job, batches=[1])
    assert not job.reports.exists()
    # TensorFlow leaves single files of its own there.
    assert not [path for path in (tmp_path / "scratch").iterdir() if path.is_dir()]
