from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.images.readers.layout import Layout, class_name, find_layout, folder_split


def layout(*images: str, others: Iterable[str] = (), empty: Iterable[str] = ()) -> Layout:
    """The layout of these images; a name without a suffix is a folder with two of them."""
    paths = [
        p
        for name in images
        for p in ([name] if name.endswith(".png") else [f"{name}/1.png", f"{name}/2.png"])
    ]
    folders = set(empty)
    for path in (*paths, *others, *empty):
        while path := path.rpartition("/")[0]:
            folders.add(path)
    return find_layout("src", sorted(paths), sorted(others), sorted(folders))


def classes(found: Layout) -> dict[str, str]:
    """The classes of each split, in one string."""
    splits = sorted({split for _, split, _ in found.rows})
    return {one: " ".join(sorted({label for _, of, label in found.rows if of == one})) for one in splits}


FLOWERS = {"train": "daisy rose"}
PETS = {"train": "cat dog", "test": "cat dog"}


def both(first: str, second: str) -> list[str]:
    return [f"{folder}/{label}" for folder in (first, second) for label in ("cat", "dog")]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("training_set", "test_set"),
        ("Train", "TEST_SET"),
        ("trainset", "testset"),
        ("TrainData", "testData"),
        ("train (1)", "test (1)"),
        ("images_train", "images_test"),
        ("train_images", "test_images"),
        ("dataset-train", "dataset-test"),
        ("train2017", "test2017"),
        ("seg_train", "seg_test"),
        ("AffectNet_train", "AffectNet_test"),
        ("pets.train", "pets.test"),
        ("archive/seg_train/seg_train", "archive/seg_test/seg_test"),
        ("train/train", "test/test"),
        ("train/animals", "test/animals"),
        ("data/a/b/train", "data/a/b/test"),
    ],
)
def test_split_folders_may_have_words_around_their_names(train, test):
    assert classes(layout(*both(train, test))) == PETS


@pytest.mark.parametrize(
    "images", [("flowers/daisy", "flowers/rose"), ("flowers/flowers/daisy", "flowers/flowers/rose")]
)
@pytest.mark.parametrize("others", [(), ("README", "flowers/LICENSE.txt", "flowers/daisy/.x", "docs/a.md")])
def test_files_that_are_not_images_decide_nothing(images, others):
    found = layout(*images, others=others)
    assert classes(found) == FLOWERS
    assert found.empty == set()
    assert found.outside == []


@pytest.mark.parametrize(
    "names",
    [
        "valid invalid",
        "train car bus",
        "test control",
        "dev prod",
        "test_tube flask",
        "steam_train bullet_train",
    ],
)
def test_a_class_may_be_called_like_a_split(names):
    assert classes(layout(*names.split())) == {"train": " ".join(sorted(names.split()))}
    under_a_split = layout(*[f"{split}/{name}" for split in ("train", "val") for name in names.split()])
    assert set(classes(under_a_split)) == {"train", "validation"}
    assert set(classes(under_a_split).values()) == {" ".join(sorted(names.split()))}


def test_classes_called_train_and_test_can_be_stated():
    with pytest.raises(DataError, match="put them all into one folder called 'train'"):
        layout("train", "test")
    assert classes(layout("train/train", "train/test")) == {"train": "test train"}


@pytest.mark.parametrize(
    "images",
    [
        ("cat/train", "cat/test", "dog/train", "dog/test"),
        ("wrap/cat/train_set", "wrap/cat/Test", "wrap/dog/train", "wrap/dog/testing"),
    ],
)
def test_splits_may_stand_in_the_classes(images):
    assert classes(layout(*images)) == PETS


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (both("site_a", "site_b"), r"site_a, site_b hold folders of their own: cat, dog"),
        (both("fold1", "fold2"), r"fold1, fold2 hold folders"),
        ([*both("train", "extra")], "by their names train would be splits"),
        (["train/steam", "train/diesel", "car/red", "car/blue"], "train would be splits, but not .* car"),
        (["train", "test", "car"], "test, train would be splits by name, but no class folders"),
        (["train"], "no class folders"),
        (["daisy", "rose", "flowers/daisy", "flowers/rose"], "flowers/daisy"),
        (["cat/1.png", "cat/test/2.png", "dog/1.png", "dog/test/2.png"], "hold folders of their own: test"),
        ([*both("one/train", "one/test"), *both("two/train", "two/test")], "one, two hold folders"),
        ([*both("train/train", "train/val"), *both("test", "test")], "train, val hold folders"),
        (["1.png", "2.png"], "no folders for their classes"),
        (["/".join("a" * 300) + "/1.png"], "folders deep"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(images, told):
    with pytest.raises(DataError, match=told):
        layout(*images)


@pytest.mark.parametrize(
    ("extra", "outside"),
    [
        ("unlabeled", ["unlabeled/1.png", "unlabeled/2.png"]),
        ("docs/figures", ["docs/figures/1.png", "docs/figures/2.png"]),
        ("pred/pred", ["pred/pred/1.png", "pred/pred/2.png"]),
        ("loose.png", ["loose.png"]),
        ("test/loose.png", ["test/loose.png"]),
    ],
)
def test_images_that_belong_to_no_class_are_named(extra, outside):
    found = layout(*both("train", "test"), extra)
    assert classes(found) == PETS
    assert [bad.place for bad in found.outside] == outside
    assert all("splits are test, train" in bad.reason for bad in found.outside)


def test_deeper_images_are_of_the_class_above_and_that_is_said():
    found = layout("animals/cat", "animals/dog", "vehicles/car")
    assert classes(found) == {"train": "animals vehicles"}
    assert "below a class folder are of that class: animals, vehicles" in found.notes[0]
    assert classes(layout("a/1.png", "a/more/2.png", "b/3.png")) == {"train": "a b"}
    assert classes(layout("happy/1.png")) == {"train": "happy"}


def test_rows_are_in_the_order_of_their_paths():
    paths = ["train/a b/1.png", "train/a/1.png", "train/a/more/1.png", "train/a/z.png", "test/a/1.png"]
    assert [path for path, _, _ in layout(*reversed(paths)).rows] == sorted(paths)


def test_an_empty_folder_is_a_class_without_images_and_a_folder_of_other_files_is_none():
    found = layout("train/a", "train/b", "test/a", others=["train/doc/x.md"], empty=["train/c", "valid"])
    assert found.empty == {"c"}
    assert found.notes == ["the folder valid is empty"]


def test_several_folders_of_one_split_are_said():
    (note,) = layout("train_1/a", "train_2/a", "test/a").notes
    assert note == "train is made of the folders train_1, train_2"


def test_names_in_two_unicode_forms_are_one_class():
    assert classes(layout("train/cafe\u0301", "train/x", "test/caf\u00e9")) == {
        "train": "café x",
        "test": "café",
    }


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("cat ", "cat"), ("STRASSE", "straße")])
def test_a_class_spelt_otherwise_in_another_split_is_named(one, other):
    with pytest.raises(DataError, match=r"the class .* is spelt differently in test, train"):
        layout(f"train/{one}", "train/dog", f"test/{other}", "test/dog")
    assert len(layout(one, other, "dog").rows) == 6  # letters in both cases are classes of their own


def test_names_that_are_not_utf_8_make_printable_classes():
    assert class_name("caf\udce9") == "caf\\xe9"


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "train", "test", "x"]), min_size=0, max_size=4), max_size=6)
)
def test_every_image_is_used_once_or_named_or_all_is_refused(paths):
    images = [f"{'/'.join(parts)}/{i}.png".lstrip("/") for i, parts in enumerate(paths)]
    try:
        found = layout(*images)
    except DataError:
        return
    assert sorted([path for path, _, _ in found.rows] + [bad.place for bad in found.outside]) == sorted(
        images
    )


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Training"),
        ("validation", "val VALID validation dev publictest"),
        ("test", "Test testing PrivateTest"),
        (None, "station trainer restraint contest attest evaluation 42"),
    ],
)
def test_splits_by_the_name_of_a_folder(split, names):
    assert {folder_split(name) for name in names.split()} == {split}
