import pytest

from cnnboost.urls import local_path, without_query, without_secrets


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("https://h/a/1.png?X-Amz-Signature=s#f", "https://h/a/1.png"),
        ("https://token@h/a?b=c@d", "https://h/a"),
        ("ftp://user:pass@h/1.png", "ftp://h/1.png"),
        ("s3://bucket/a?b.png", "s3://bucket/a?b.png"),
        ("s3://key:secret@bucket/a", "s3://bucket/a"),
        ("abfss://container@account/a", "abfss://container@account/a"),
        ("/a/b?c@d.png", "/a/b?c@d.png"),
    ],
)
def test_names_hold_no_secrets(name, shown):
    assert without_secrets(name) == shown


def test_a_query_is_not_part_of_a_path():
    assert without_query("https://h/list.txt?sig=a.b") == "https://h/list.txt"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("file:///a%20b/c", "/a b/c"),
        ("FILE://localhost/a", "/a"),
        ("file://host/a", "file://host/a"),
        ("a/b", "a/b"),
    ],
)
def test_a_file_url_is_a_path(name, path):
    assert local_path(name) == path
