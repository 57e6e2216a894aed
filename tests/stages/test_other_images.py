import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnnboost import BoostClassifier, CNNFeatures, stages
from cnnboost.errors import DataError, DeviceError, LayerError, ModelError, RecipeError, StoreError
from cnnboost.files import read_json, write_json
from cnnboost.stages.other_images import source_name
from cnnboost.stages.training import TrainedOn


def save_images(root, X, names, size=(19, 23)):
    """Write images as pictures of colour and of another size, one folder for each class."""
    for i, (image, name) in enumerate(zip(X, names, strict=True)):
        (root / str(name)).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image[..., 0]).resize(size).convert("RGB")
        picture.save(root / str(name) / f"{i}.png")
    return root


@pytest.fixture
def photos(toy_images, tmp_path):
    X, y = toy_images
    return save_images(tmp_path / "my photos", X[:60], y[:60])


@pytest.fixture(scope="session")
def with_head(job_in, tmp_path_factory):
    """Return a job with the toy recipe's CNN and a head at fc1; copy them."""
    job = job_in(tmp_path_factory.mktemp("boosted"))
    stages.fit_boost(job, "fc1")
    return job


@pytest.fixture
def boosted(with_head, copy_of, tmp_path):
    return copy_of(with_head, tmp_path)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def scored(job, photos, *arguments, **options):
    return stages.evaluate_source(replace(job, data=photos), *arguments, **options)


class TestWhatIsScored:
    def test_nothing_is_trained_and_the_scores_are_the_models(self, boosted, photos, caplog):
        models = contents(boosted.models)
        with caplog.at_level(logging.INFO, "cnnboost"):
            found = scored(boosted, photos)
        assert contents(boosted.models) == models
        assert "nothing is trained" in caplog.text
        assert f"cnnboost run toy --data {photos}" in caplog.text
        assert found.path == boosted.reports / "toy/other/my-photos/metrics.json"
        assert read_json(found.path) == found.document
        assert all(path.parent == found.path.parent / "figures" for path in found.figures)
        assert {path.name for path in found.figures} >= {"confusion-cnn.png", "confusion-fc1.png"}
        trained = stages.train(boosted)
        images = stages.find_other_images(replace(boosted, data=photos)).images
        assert images.shape == (60, 8, 8, 1)
        right = np.mean(trained.cnn.predict(images.X) == np.array(images.classes)[images.y])
        assert found.document["cnn"]["scores"]["accuracy"]["value"] == pytest.approx(right)
        features = CNNFeatures(trained.model, "fc1").fit_transform(images.X)
        head = BoostClassifier.load(boosted.models_dir / "heads/fc1-plain.ubj")
        right = np.mean(head.predict(features) == np.array(images.classes)[images.y])
        (row,) = found.document["heads"]
        assert (row["layer"], row["scores"]["accuracy"]["value"]) == ("fc1", pytest.approx(right))

    def test_the_form_is_that_of_an_evaluation(self, boosted, photos):
        own = stages.evaluate(boosted, ["fc1"])
        before = contents(boosted.reports_dir)
        other = scored(boosted, photos).document
        assert contents(boosted.reports_dir).items() >= before.items()
        new = {"source_name", "trained_on", "counted_as", "layers_left_out"}
        assert set(other) == set(own.document) | new
        assert set(other["cnn"]) == set(own.document["cnn"])
        assert set(other["heads"][0]) == set(own.document["heads"][0])
        assert other["trained_on"]["digest"] == own.document["data_digest"] != other["data_digest"]
        assert (other["trained_on"]["images"], other["trained_on"]["train_images"]) == (1797, 1258)
        assert (other["source_name"], other["split"], other["images"]) == ("my-photos", "all", {"all": 60})

    def test_own_images_are_evaluated_as_ever_and_listed_once(self, boosted, monkeypatch):
        images, listed, load = boosted.images, [], stages.job.load_images
        monkeypatch.setattr(stages.job, "load_images", lambda *a, **k: listed.append(a) or load(*a, **k))
        own = replace(boosted)
        assert stages.find_other_images(own) is None
        found = stages.evaluate_source(own, ["fc1"])
        assert len(listed) == 2
        assert own.images.split_names == images.split_names
        assert all(own.images[name].digest == images[name].digest for name in images.split_names)
        assert found.path == boosted.reports / "toy/metrics.json"
        assert found.document["split"] == "validation"

    def test_own_images_are_known_without_a_class_that_the_recipe_drops(self, boosted, change, photos):
        fewer = change(boosted, data={"drop": ("3", "5")}, cnn={"epochs": 1})
        stages.train(fewer)
        assert stages.find_other_images(fewer) is None
        other = stages.find_other_images(replace(fewer, data=photos))
        assert other.images.classes == ("0", "1", "2", "4", "6", "7", "8", "9")
        assert not any(str(place).startswith(("3/", "5/")) for place in other.images.ids)

    def test_without_a_cnn_one_is_trained(self, job, change, photos, tmp_path):
        fresh = change(replace(job, models=tmp_path / "fresh"), cnn={"epochs": 1})
        found = scored(fresh, photos, ["output"])
        assert found.path == fresh.reports / "toy/metrics.json"
        assert (fresh.models_dir / "cnn.keras").is_file()

    def test_a_changed_network_on_own_images_is_trained_anew(self, boosted, change):
        other = change(boosted, cnn={"epochs": 1})
        assert stages.find_other_images(other) is None
        assert stages.evaluate_source(other, ["fc1"]).document["cnn"]["epochs"] == 1

    def test_a_split_can_be_named(self, boosted, photos, toy_images, tmp_path):
        both = tmp_path / "both"
        shutil.copytree(photos, both / "train")
        X, y = toy_images
        save_images(both / "test", X[100:110], y[100:110])
        assert scored(boosted, both).document["images"] == {"all": 70}
        assert scored(boosted, both, split="test").document["images"] == {"test": 10}
        with pytest.raises(DataError, match=r"no split 'validation'; it has: train, test"):
            scored(boosted, both, split="validation")

    @pytest.mark.parametrize("n", [1, 3])
    def test_a_few_images_of_one_class_will_do(self, boosted, toy_images, tmp_path, n):
        X, y = toy_images
        few = save_images(tmp_path / "few", X[y == 3][:n], y[y == 3][:n])
        found = scored(boosted, few)
        json.dumps(found.document, allow_nan=False)
        scores = {row["name"]: row for row in found.document["cnn"]["scores"]["per_class"]}
        assert (scores["3"]["support"], scores["5"]["support"]) == (n, 0)
        assert scores["5"]["recall"]["interval"] is None
        assert (found.document["cnn"]["scores"]["macro_f1"]["interval"] is None) == (n == 1)
        assert found.document["cnn"]["auc"] == {}
        assert found.document["cnn"]["collapsed"] is None

    def test_bad_images_stop_or_are_listed(self, boosted, photos):
        (photos / "3" / "broken.png").write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"broken\.png"):
            scored(boosted, photos)
        found = scored(replace(boosted, on_bad="skip"), photos)
        assert found.document["images_left_out"] == 1
        assert "broken.png" in (found.path.parent / "bad_inputs.csv").read_text()
        assert not (boosted.reports_dir / "bad_inputs.csv").exists()


class TestHeads:
    def test_without_heads_the_cnn_alone_is_scored(self, job, photos, caplog):
        found = scored(job, photos)
        assert found.document["heads"] == []
        assert [row["layer"] for row in found.document["layers_left_out"]] == ["fc1", "fc2", "output"]
        assert "cnnboost fit-boost -r toy --layer fc2" in caplog.text
        drawn = [path.name for path in found.figures]
        assert drawn == ["confusion-cnn.png", "class-accuracy.png", "roc.png"]

    def test_a_hybrid_that_is_left_out_is_said_to_be(self, boosted, change, photos, caplog):
        residual = change(boosted, hybrid={"mode": "residual", "layers": ("flatten", "fc1")})
        found = scored(residual, photos)
        assert found.document["layers_left_out"][-1]["layer"] == "flatten+fc1"
        assert "the recipe's residual hybrid is left out" in caplog.text

    def test_a_named_layer_must_have_its_head(self, boosted, photos):
        with pytest.raises(StoreError, match=r"no head at fc2 .*; cnnboost fit-boost -r toy --layer fc2"):
            scored(boosted, photos, ["fc1", "fc2"])
        with pytest.raises(LayerError, match="fc9"):
            scored(boosted, photos, ["fc9"])
        assert not boosted.reports_dir.exists()

    def test_a_head_of_another_cnn_or_of_other_facts_is_none(self, boosted, change, photos):
        with pytest.raises(StoreError, match=r"other values in \[boost\]"):
            scored(change(boosted, boost={"max_depth": 5}), photos, ["fc1"])
        stages.train(replace(change(boosted, cnn={"seed": 7}), force=True))
        with pytest.raises(StoreError, match="fitted on another CNN"):
            scored(change(boosted, cnn={"seed": 7}), photos, ["fc1"])
        assert scored(change(boosted, cnn={"seed": 7}), photos).document["heads"] == []

    def test_a_head_for_other_classes_or_a_damaged_one_is_named(self, boosted, photos):
        path = boosted.models_dir / "heads/fc1-plain.ubj"
        X = np.random.default_rng(0).normal(size=(40, 16)).astype("float32")
        other = BoostClassifier(n_estimators=1, n_jobs=1).fit(X, ["cat", "dog"] * 20)
        other.save(path, details=BoostClassifier.load(path).details_)
        with pytest.raises(StoreError, match=r"other classes \(cat, dog\) than the CNN's \(0, 1, 2"):
            scored(boosted, photos, ["fc1"])
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(StoreError, match=r"fc1-plain\.ubj.*; cnnboost fit-boost"):
            scored(boosted, photos, ["fc1"])

    def test_an_impossible_device_is_refused(self, boosted, photos):
        with pytest.raises(DeviceError, match="gpu"):
            scored(boosted, photos, device="gpu")


class TestClasses:
    def test_unknown_classes_are_refused_with_what_may_be_meant(self, boosted, change, toy_images, tmp_path):
        X, y = toy_images
        names = np.where(y[:30] == 3, "three", np.where(y[:30] == 4, "44", y[:30].astype(str)))
        folder = save_images(tmp_path / "odd", X[:30], names)
        with pytest.raises(DataError) as caught:
            scored(boosted, folder)
        for words in ("'44', 'three'", "Did you mean '4' for '44'", "0, 1, 2, 3, 4", "to the letter"):
            assert words in str(caught.value)
        assert not boosted.reports_dir.exists()

    def test_an_empty_folder_is_refused(self, boosted, tmp_path):
        (tmp_path / "nothing").mkdir()
        with pytest.raises(DataError, match="holds no files"):
            scored(boosted, tmp_path / "nothing")

    @pytest.fixture
    def binary(self, face_folder, job, change):
        """Return a CNN that tells happy from the rest, trained on made-up faces."""
        two = change(
            job,
            data={"source": None, "size": 16, "binary": "happy"},
            cnn={"architecture": "linear", "options": {}, "epochs": 1},
            cut={"layers": ("output",)},
        )
        stages.train(replace(two, data=face_folder))
        return two

    def test_binary_takes_original_classes_and_its_own(self, binary, toy_images, tmp_path):
        cases = {
            ("sad", "happy"): [0, 1],
            ("not happy", "happy"): [0, 1],
            ("disgust", "sad"): [0, 0],
            ("happy",): [1],
        }
        for place, (names, expected) in enumerate(cases.items()):
            folder = save_images(tmp_path / f"faces{place}", toy_images[0][: len(names)], names)
            other = stages.find_other_images(replace(binary, data=folder))
            of = dict(zip((str(i).split("/")[0] for i in other.images.ids), other.images.y, strict=True))
            assert of == dict(zip(names, expected, strict=True))
            assert other.images.classes == ("not happy", "happy")

    def test_binary_takes_nothing_that_looks_mistyped(self, binary, toy_images, tmp_path):
        for name in ("Happy", "hapy", "happpy"):
            folder = save_images(tmp_path / f"of {name}", toy_images[0][:2], [name, "sad"])
            with pytest.raises(DataError, match=f"'happy' for '{name}'"):
                scored(binary, folder)


class TestTheCnn:
    def test_an_altered_file_is_refused(self, boosted, photos):
        path = boosted.models_dir / "cnn.keras"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(ModelError, match=r"cnn\.keras was altered .*cnnboost train -r toy"):
            scored(boosted, photos)

    @pytest.mark.parametrize(
        ("tables", "named"),
        [({"cnn": {"learning_rate": 0.5}}, r"\[cnn\]"), ({"data": {"binary": "3"}}, r"\[data\]")],
    )
    def test_other_facts_and_other_images_are_refused(self, boosted, change, photos, tables, named):
        models = contents(boosted.models)
        with pytest.raises(RecipeError, match=f"other values in {named} .*cnnboost run toy"):
            scored(change(boosted, **tables), photos)
        assert contents(boosted.models) == models

    def test_training_notes_what_it_was_on(self, job):
        noted = TrainedOn.read(stages.train(job).metadata)
        assert noted == TrainedOn.of(job.recipe, job.images)

    def test_an_old_record_is_refused_until_training_has_noted_it(self, boosted, photos):
        record = boosted.models_dir / "history.json"
        metadata = read_json(record)
        del metadata["trained_on"]
        write_json(record, metadata)
        with pytest.raises(StoreError, match=r"earlier version.* cnnboost train -r toy"):
            scored(boosted, photos)
        assert stages.find_other_images(boosted) is None
        assert stages.train(boosted).cached
        assert scored(boosted, photos).document["heads"]


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_any_name_of_a_source_is_fit_for_a_folder(name):
    found = source_name(name)
    assert found
    assert not found.startswith(".")
    assert not set(found) & set("/\\:*?<>| \n")
