import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cnnboost import BoostClassifier, CNNClassifier
from cnnboost.boost.params import check_parameters
from cnnboost.cnn.options import TrainingOptions
from cnnboost.config import BUNDLE_TABLES, Recipe, Space, changed, load_recipe, packaged
from cnnboost.config.tables import Boost, Cnn
from cnnboost.deploy.bundle import shipped_bundle
from cnnboost.errors import ParameterError, RecipeError


@pytest.mark.parametrize("name", sorted(packaged()))
def test_every_packaged_recipe_is_valid(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.title


def test_the_default_needs_no_data():
    assert load_recipe().name == "digits"
    assert load_recipe().data.source == "digits"


def test_oslo_states_what_was_published():
    recipe = load_recipe("oslo")
    assert (recipe.cnn.epochs, recipe.cnn.batch_size, recipe.cnn.learning_rate) == (50, 64, 1e-3)
    assert recipe.cnn.options["filters"] == [32, 64, 64]
    assert recipe.evaluate.published.layers["fc1"] == 0.5520


def test_uniandes_states_other_scores_than_accuracy():
    assert load_recipe("uniandes_binary").evaluate.published.scores == {
        "average_class_accuracy": 0.52, "best_f1": 0.4
    }  # fmt: skip
    assert load_recipe("uniandes_softmax").evaluate.published.scores == {"average_class_accuracy": 0.1368}


def test_a_file_takes_its_name_unless_it_states_one(tmp_path):
    (tmp_path / "mine.toml").write_text("[cnn]\nepochs = 3\n")
    assert load_recipe(tmp_path / "mine.toml").name == "mine"
    (tmp_path / "mine.toml").write_text('name = "other"')
    assert load_recipe(tmp_path / "mine.toml").name == "other"


def test_overrides_stand_over_the_file():
    recipe = load_recipe(
        "digits", ["cnn.epochs=5", "cnn.options.dropout = 0.1", "cnn.optimizer=sgd", "data.size=[9, 8]"]
    )
    assert (recipe.cnn.epochs, recipe.cnn.options, recipe.cnn.optimizer) == (5, {"dropout": 0.1}, "sgd")
    assert recipe.data.size == (9, 8)
    assert load_recipe("digits").cnn.epochs != 5


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe().cnn.epochs = 3


def test_digests_stay_what_they_were():
    known = {
        "oslo": "ea1c3dfa15490ae04c154dc88cae28252d26f117dcd3b26275f27bd1d4f69778",
        "fer2013": "a1914de5e547f78abc9307394281108cabd2b5f8acf83b45ede5fcf7c6acf10e",
        "fer2013_teacher": "8af46a7ac22cc575fd605bcf08481223b70b5de0eab1a6fbe87e845e6a714e05",
    }
    for name, digest in known.items():
        # The Oslo recipe had another dropout rate when its digest was noted down.
        recipe = load_recipe(name, ["cnn.options.dropout=0.5"] if name == "oslo" else [])
        assert recipe.digest("cnn") == digest
        # What the teacher says is known by the content of its file, and not by its place.
        soft_targets = [changed(recipe, {"cnn.teacher": place}) for place in ("a.npz", "b/c.npz")]
        assert {one.digest("cnn") for one in soft_targets} == {digest}
        assert changed(soft_targets[0], {"cnn.teacher_weight": 0.5}).digest("cnn") != digest


def test_what_a_bundle_wants_is_not_part_of_its_digest():
    manifest = shipped_bundle().manifest
    recipe = load_recipe("fer2013")
    assert recipe.export.wants == manifest["wants"] == "face"
    assert recipe.digest(*BUNDLE_TABLES) == manifest["recipe_digest"]
    with pytest.raises(RecipeError, match="wants"):
        load_recipe("fer2013", ["export.wants=cat"])


@pytest.mark.parametrize(("key", "value"), [("holdout", 0.2), ("folds", 3)])
def test_a_teacher_of_all_images_and_cnns_of_a_part_are_refused(key, value):
    recipe = load_recipe("digits", [f"hybrid.{key}={value}"])
    with pytest.raises(RecipeError) as caught:
        changed(recipe, {"cnn.teacher": "teacher.npz"})
    words = f"[cnn] teacher and [hybrid] {key} = {value} do not go together"
    assert str(caught.value).startswith(words)
    assert f"cnn.teacher = false, or hybrid.{key} = 0" in str(caught.value)
    soft_targets = load_recipe("digits", ["cnn.teacher=teacher.npz"])
    assert changed(soft_targets, {"cnn.teacher": False, f"hybrid.{key}": value}).cnn.teacher is None
    with pytest.raises(RecipeError, match="do not go together"):
        changed(soft_targets, {f"hybrid.{key}": value})


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_the_digest_is_that_of_the_metadata(a, b):
    one, other = (Recipe(name="x", cnn={"epochs": epochs}) for epochs in (a, b))
    assert (one.digest("cnn") == other.digest("cnn")) == (a == b)
    assert one.digest("boost") == other.digest("boost")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cnn.epohs=5", ["epohs", "did you mean 'epochs'", "batch_size"]),
        ("tpyo.x=1", ["tpyo", "boost"]),
        ("evaluate.published.cn=1", ["[evaluate.published] cn", "did you mean 'cnn'"]),
        (
            "evaluate.published.scores.aca=0.5",
            ["unknown score 'aca'", "average_class_accuracy", "best_f1", "auc"],
        ),
        ("evaluate.published.scores.accuracy=0.5", ["the accuracy of the CNN in `cnn`"]),
        ("evaluate.published.scores.f1=40", ["f1 = 40", "less than or equal to 1"]),
        ("cnn.epochs=0", ["[cnn] epochs = 0", "greater than or equal to 1"]),
        ("cnn.learning_rate=-1", ["[cnn] learning_rate = -1"]),
        ("cnn.progressive_resizing=[[32, 0]]", ["[cnn.progressive_resizing.0] 1 = 0", "greater than 0"]),
        ("cnn.progressive_resizing=[[32, 0.5], [32, 0.2]]", ["progressive_resizing", "the sizes must grow"]),
        ("cnn.progressive_resizing=[[32, 0.7], [40, 0.3]]", ["the shares of the epochs come to 1;"]),
        ("boost.subsample=1.5", ["[boost] subsample = 1.5"]),
        ("data.channels=2", ["[data] channels = 2", "1 or 3"]),
        ("cut.layers=[]", ["at least one layer"]),
        ("evaluate.split=train", ["'train'", "'test' or 'validation'"]),
        ("name=../up", ["'../up'"]),
        ("cnn=3", ["cnn = 3"]),
        ("cnn.epochs", ["table.key=value"]),
        ("name.x=3", ["'name' is not a table"]),
    ],
)
def test_unknown_keys_and_impossible_values_are_named(override, words):
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", [override] if not override.startswith("name.") else ["name=a", override])
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"space": {"boost.gamma": {"low": 1, "high": 0}}}, ["must be below"]),
        ({"space": {"boost.gamma": {}}}, ["give choices"]),
        ({"space": {"boost.gamma": {"low": 0, "high": 1, "log": True}}}, ["log goes with"]),
        ({"space": {"boost.gamma": {"chioces": [1]}}}, ["chioces", "did you mean 'choices'"]),
        ({"space": {"cnn.balance": {"choices": [True, True]}}}, ["True is listed twice"]),
        ({"trails": 3}, ["trails", "did you mean 'trials'"]),
        ({"part": 0}, ["part = 0", "greater than 0"]),
        ({"part": 1.5}, ["part = 1.5", "less than or equal to 1"]),
        ({"stages": 2}, ["stages = 2", "sampler = 'random'", "'tpe'"]),
        ({"stages": 3, "trials": 2, "sampler": "random"}, ["as many trials"]),
        (
            {"space": {"cnn.seed": {"choices": [1]}}, "set": {"cnn.seed": 2}},
            ["'cnn.seed'", "searched or set"],
        ),
    ],
)
@pytest.mark.parametrize("table", ["search", "studies"])
def test_an_impossible_search_is_refused(table, metadata, words):
    with pytest.raises(RecipeError) as caught:
        changed(load_recipe("digits"), {table: metadata if table == "search" else {"one": metadata}})
    assert all(word in str(caught.value) for word in ["one" if table == "studies" else "search", *words])


def test_a_study_must_have_a_name_that_files_can_have():
    with pytest.raises(RecipeError, match="'a/b'"):
        changed(load_recipe("digits"), {"studies": {"a/b": {"trials": 3}}})


def test_choices_that_only_python_takes_for_the_same():
    space = Space(choices=(1, 1.0, True))
    assert [type(choice) for choice in space.choices] == [int, float, bool]


def test_no_augmentation_is_a_value():
    recipe = load_recipe("hust_vgg19", ["cnn.augment=false"])
    assert recipe.cnn.augment is None
    assert recipe.digest("cnn") == Recipe(name="x", cnn=recipe.cnn.model_dump()).digest("cnn")
    with pytest.raises(RecipeError, match=r"\[cnn\] augment = True"):
        load_recipe("hust_vgg19", ["cnn.augment=true"])


def test_no_class_weights_and_nothing_published_are_values():
    recipe = load_recipe("ubi_scaled_down", ["cnn.class_weight=false", "evaluate.published=false"])
    assert recipe.cnn.class_weight is None
    assert recipe.evaluate.published is None


def test_a_changed_key_below_a_value_is_named():
    with pytest.raises(RecipeError, match=r"'cnn\.optimizer\.beta'.*'optimizer' is not a table"):
        changed(load_recipe("oslo"), {"cnn.optimizer.beta": 0.9})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[cnn\n", ["not valid TOML", "line 1"]),
        (b"\xff\xfe", ["not valid TOML"]),
        (b"title = " + b"[" * 3000, ["not valid TOML: nested too deeply"]),
        (b"[cnn]\nepochs = " + b"9" * 5000, ["not valid TOML", "4300"]),
        (b"[cnn]\nepochs = 0x" + b"f" * 5000, ["[cnn] epochs = a number of 20,000 bits"]),
        (b"#" * (2 << 20), ["2,097,152 bytes are too many"]),
        (bytes(range(256)), ["not valid TOML"]),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, words):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert all(word in str(caught.value) for word in [str(path), *words])


def test_a_recipe_that_is_not_there_is_guessed(tmp_path):
    with pytest.raises(RecipeError, match=r"Did you mean 'oslo'.*digits"):
        load_recipe("olso")
    with pytest.raises(RecipeError, match="a folder"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match=r"x\.\.\.: File name too long"):
        load_recipe("x" * 300)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "recipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("recipe.toml", "zero.toml"):
        with pytest.raises(RecipeError, match=f"{name}: a device or a pipe"):
            load_recipe(tmp_path / name)


def test_a_byte_order_mark_is_not_a_fault(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf[cnn]\nepochs = 3\n")
    assert load_recipe(path).cnn.epochs == 3


@pytest.mark.parametrize(
    "override",
    [
        *(f"cnn.{key}=nan" for key, field in Cnn.model_fields.items() if field.annotation is float),
        *(f"boost.{key}=inf" for key, field in Boost.model_fields.items() if field.annotation is float),
        *(f"cnn.{key}={10**18}" for key in ("epochs", "batch_size", "seed", "steps_per_execution")),
        *(f"boost.{key}={10**12}" for key in ("n_estimators", "max_depth", "seed", "max_bin", "gamma")),
        *(f"{table}.seed=-1" for table in ("data", "cnn", "boost", "compare", "evaluate", "search")),
        *(f"cnn.options.dropout={value}" for value in ("nan", "inf", "1979-05-27", "9" * 400)),
        *(f"cnn.epochs={value}" for value in ("9" * 5000, "0x" + "f" * 5000, "[" * 3000, "[" * 300)),
        f"cnn.options.filters={[1] * 20_000}",
        f"cnn.options.filters={'[' * 50}1{']' * 50}",
        f"cnn.options{'.a' * 5000}=1",
        f"cnn.class_weight.a={10**12}",
        "cnn.augment.rotation=nan",
        "cnn.learning_rate=inf",
        "cnn.learning_rate=1e300",
        'cnn.teacher="a\\u0000b"',
        "data.size=1000000000",
        "data.size=[8, 1000000000]",
        'data.source="a\\u0000b"',
        "boost.xgb_params.max_leaves=nan",
        "boost.max_depth=1000000",
        "hybrid.views=1000000",
        "hybrid.boost.n_estimators=1000000000000",
        "hybrid.networks=1000000",
        "evaluate.resamples=1000000000000",
        "bench.seconds=inf",
        "bench.batches=[1000000000000]",
        f"name={'x' * 300}",
        'search.space."boost.max_depth"={low = 0, high = inf}',
        f"search.set={{'cnn.epochs' = {10**30}}}",
    ],
)
def test_a_value_without_measure_is_refused_in_one_short_line(override):
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", [override])
    assert len(str(caught.value)) < 1500
    assert "\n" not in str(caught.value)


def highest(table):
    """Return the highest value of each key of a table that has one, by the parameter of an estimator."""
    found = {}
    for key, schema in table.model_json_schema()["properties"].items():
        kinds = [schema, *schema.get("anyOf", ())]
        if most := [kind["maximum"] for kind in kinds if "maximum" in kind]:
            found["random_state" if key == "seed" else key] = int(most[0])
    return found


@pytest.mark.parametrize(("key", "value"), highest(Cnn).items())
def test_a_cnn_takes_what_a_recipe_takes_and_no_more(key, value):
    of_cnn = {"step_epochs": {"schedule": "step"}, "reduce_lr": {"reduce_lr_factor": 0.5}}.get(key, {})
    field = "seed" if key == "random_state" else key
    options = {**CNNClassifier().get_params(), **of_cnn}
    Cnn.model_validate({field: value})
    TrainingOptions.of({**options, key: value})
    with pytest.raises(ParameterError, match=f"{key}={value + 1}"):
        TrainingOptions.of({**options, key: value + 1})
    with pytest.raises(ValidationError):
        Cnn.model_validate({field: value + 1})


@pytest.mark.parametrize(("key", "value"), highest(Boost).items())
def test_a_head_takes_what_a_recipe_takes_and_no_more(key, value):
    parameters, field = BoostClassifier().get_params(), "seed" if key == "random_state" else key
    Boost.model_validate({field: value})
    check_parameters({**parameters, key: value})
    with pytest.raises(ParameterError, match=f"{key}={value + 1}"):
        check_parameters({**parameters, key: value + 1})
    with pytest.raises(ValidationError):
        Boost.model_validate({field: value + 1})


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cnn.epohs=5", "--set cnn.epohs=5: [cnn] epohs: unknown key"),
        ("cnn.progressive_resizing=[[32, 0]]", "--set cnn.progressive_resizing=[[32, 0]]: "),
        ("hybrid.folds=1", "--set hybrid.folds=1: "),
        ("boost.subsample = 7", "--set boost.subsample = 7: "),
    ],
)
def test_an_override_is_to_blame_and_not_the_file(override, said):
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", ["cnn.batch_size=8", override])
    assert str(caught.value).startswith(said)
    assert "digits" not in str(caught.value)
    assert "batch_size=8" not in str(caught.value)


def test_both_the_file_and_an_override_can_be_to_blame(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[boost]\nmax_dept = 3\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["cnn.epochs=0"])
    assert f"{path}: [boost] max_dept: unknown key" in str(caught.value)
    assert "--set cnn.epochs=0: [cnn] epochs = 0" in str(caught.value)


class TestSource:
    @pytest.fixture
    def recipe(self, tmp_path, monkeypatch):
        """A recipe in one folder, images beside it, and another working folder."""
        (tmp_path / "study" / "pets").mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        path = tmp_path / "study" / "mine.toml"
        path.write_text('[data]\nsource = "pets"\n')
        return path

    def test_it_is_relative_to_the_recipe(self, recipe):
        read = load_recipe(recipe)
        assert read.source == str(recipe.parent / "pets")
        assert changed(read, {"cnn.epochs": 2}).source == read.source
        assert read.model_copy(update={"title": "x"}).source == read.source

    def test_no_place_enters_a_digest(self, recipe, tmp_path):
        before = load_recipe(recipe).digest("data")
        (tmp_path / "study").rename(tmp_path / "moved")
        assert load_recipe(tmp_path / "moved" / "mine.toml").digest("data") == before

    def test_what_is_typed_is_relative_to_the_working_folder(self, recipe, tmp_path):
        (tmp_path / "elsewhere" / "pets").mkdir()
        assert load_recipe(recipe, ["data.source=pets"]).source == "pets"

    def test_a_path_from_the_working_folder_is_told_how_to_be_mended(self, recipe, tmp_path):
        (tmp_path / "study" / "pets").rename(tmp_path / "elsewhere" / "pets")
        with pytest.raises(RecipeError, match=r'Write source = "\.\./elsewhere/pets", or give --data pets'):
            _ = load_recipe(recipe).source

    def test_a_url_is_not_a_path(self, recipe):
        recipe.write_text('[data]\nsource = "s3://bucket/faces"\n')
        assert load_recipe(recipe).source == "s3://bucket/faces"

    def test_the_digits_are_not_a_path(self, recipe):
        recipe.write_text('[data]\nsource = "digits"\n')
        assert load_recipe(recipe).source == "digits"
