import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.errors import ParameterError
from cnnboost.memory import budget, free_memory, parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 << 30),
        ("2 gib", 2 << 30),
        ("500MB", 500_000_000),
        ("500M", 500_000_000),
        ("1.5kB", 1500),
        (".5TiB", 1 << 39),
        ("4096", 4096),
        ("10B", 10),
        (4096, 4096),
    ],
)
def test_sizes_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "wrong",
    ["0", "-1", "12XB", "", "GiB", "2iB", "1e9", "2 Gi B", "nan", "0.2", "two", 0, -1, True, 2.5, None],
)
def test_what_is_not_a_size_is_named_with_an_example(wrong):
    with pytest.raises(ParameterError, match="give a size such as 2GiB") as caught:
        parse_size(wrong)
    assert repr(wrong) in str(caught.value)


@given(st.integers(1, 1 << 50))
def test_a_size_that_is_shown_can_be_read_again(size):
    assert parse_size(show_size(size).replace("bytes", "B")) == pytest.approx(size, rel=0.06)


def test_the_budget_is_half_of_what_is_free_unless_it_is_stated():
    assert budget("3MiB") == 3 << 20
    assert 0.3 * free_memory() < budget(None) < 0.7 * free_memory()


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("cnnboost.memory._CGROUP", tmp_path)
    before = free_memory()
    for name, text in (
        ("max", "5000000\n"),
        ("current", "4000000\n"),
        ("stat", "anon 7\ninactive_file 200\n"),
    ):
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_memory() == 1_000_200
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > before / 2
