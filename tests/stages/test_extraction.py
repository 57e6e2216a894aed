import json
import logging
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import keras
import numpy as np
import pytest

from cnnboost import CNNFeatures, stages
from cnnboost.errors import DataError, LayerError, ModelError, RecipeError
from cnnboost.images import pixels
from cnnboost.images.streamed import StreamedPixels
from cnnboost.stages.extraction import export_plain

SETS = """
import io, sys
from pathlib import Path
import numpy as np
from cnnboost.files import write_bytes
from cnnboost.locks import alone_in

out, value = Path(sys.argv[1]), int(sys.argv[2])
content = io.BytesIO()
np.save(content, np.full(1000, value))
for _ in range(40):
    with alone_in(out):
        for i in range(5):
            write_bytes(out / f"{i}.npy", content.getbuffer())
"""


def test_all_layers_and_splits_then_nothing_more_to_do(job):
    first = stages.extract(job)
    assert {name: list(part.stored) for name, part in first.items()} == {
        "train": ["fc1", "fc2", "output"],
        "validation": ["fc1", "fc2", "output"],
    }
    assert not any(s.cached for part in first.values() for s in part.stored.values())
    again = stages.extract(job)
    assert all(s.cached for part in again.values() for s in part.stored.values())


def test_features_are_the_transformers(job):
    trained = stages.train(job)
    stored = stages.extract(job, ["fc1"], ["train"])["train"].stored["fc1"]
    own = CNNFeatures(trained.model, "fc1").fit_transform(job.images.train.X)
    np.testing.assert_allclose(stored.X, own, atol=1e-5)


def test_large_images_are_decoded_a_few_at_a_time_and_kept_as_they_were(job, monkeypatch):
    height, width, _ = job.images.shape[1:]
    monkeypatch.setattr(pixels, "_MOST_PIXELS", 8 * height * width)
    seen, chunks = [], type(job.images.train).chunks
    monkeypatch.setattr(
        type(job.images.train), "chunks",
        lambda *a: (seen.append(len(X)) or X for X in chunks(*a)),
    )  # fmt: skip
    stored = stages.extract(job, ["fc1"], ["train"])["train"].stored["fc1"]
    own = CNNFeatures(stages.train(job).model, "fc1").fit_transform(job.images.train.X)
    np.testing.assert_array_equal(stored.X, own)
    assert max(seen) == 8
    assert sum(seen) == len(own)
    manifest = json.loads((stored.parts[0].parent / "manifest.json").read_text())
    assert manifest["chunk"] == pixels.CHUNKS[-1]


def test_only_what_is_missing_is_computed(job):
    stages.extract(job, ["fc1"], ["train"])
    part = stages.extract(job, ["fc1", "fc2"], ["train"])["train"]
    assert (part.stored["fc1"].cached, part.stored["fc2"].cached) == (True, False)


def test_plain_files(job, tmp_path):
    extracted = stages.extract(job, ["fc1"])
    paths = export_plain(extracted, tmp_path / "out")
    assert sorted(p.name for p in paths) == [
        "train-fc1.npy", "train-labels.npy", "validation-fc1.npy", "validation-labels.npy"
    ]  # fmt: skip
    np.testing.assert_array_equal(np.load(tmp_path / "out/train-fc1.npy"), extracted["train"].stored["fc1"].X)
    labels = np.load(tmp_path / "out/train-labels.npy", allow_pickle=False)
    assert labels.tolist() == job.images.train.labels.tolist()
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_two_sets_of_plain_files_do_not_mix(job, change, tmp_path):
    """Two processes write different sets again and again; what is there at any time is one of them."""
    out = tmp_path / "out"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", SETS, str(out), str(value)], stderr=subprocess.PIPE, text=True
        )
        for value in (1, 2)
    ]
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == ""
    assert len({int(np.load(path)[0]) for path in out.glob("*.npy")}) == 1
    assert sorted(path.name for path in out.iterdir()) == [f"{i}.npy" for i in range(5)]


def test_plain_files_whose_names_would_be_one_are_kept_apart(job, tmp_path):
    layers, image = keras.layers, keras.Input((8, 8, 1))
    inner = keras.Input((8, 8, 1))
    body = keras.Model(inner, layers.Conv2D(2, 3, name="conv")(inner), name="body")
    x = layers.Conv2D(3, 3, name="body.conv")(body(image))
    x = layers.Dense(4, name="labels")(layers.Flatten(name="Labels")(x))
    model = keras.Model(image, layers.Dense(10, "softmax", name="q>1")(x))
    model.save(tmp_path / "own.keras")
    names = ["labels", "Labels", "body/conv", "body.conv", "q>1"]
    extracted = stages.extract(replace(job, model=tmp_path / "own.keras"), names, ["train"])
    paths = export_plain(extracted, tmp_path / "out")
    assert len({path.name.casefold() for path in paths}) == len(list((tmp_path / "out").iterdir())) == 6
    for path, name in zip(paths, names, strict=False):
        np.testing.assert_array_equal(np.load(path), extracted["train"].stored[name].X)
    labels = np.load(tmp_path / "out/train-labels.npy", allow_pickle=False)
    assert labels.tolist() == job.images.train.labels.tolist()


def test_unknown_layers_and_splits(job):
    with pytest.raises(LayerError, match=r"'fc7'.*fc1 \(16\)"):
        stages.extract(job, ["fc7"])
    with pytest.raises(DataError, match=r"'test'.*train, validation"):
        stages.extract(job, ["fc1"], ["test"])


def test_a_model_of_ones_own(job, toy_file, caplog):
    given = replace(job, model=toy_file)
    with caplog.at_level(logging.INFO, "cnnboost"):
        stored = stages.extract(given, ["fc1"], ["train"])["train"].stored["fc1"]
    assert stored.X.shape[1] == 64
    assert "0..255" in caplog.text
    assert [layer["name"] for layer in stages.layers_of(given)][-1] == "output"


def test_a_given_model_brings_its_own_size(job, face_folder, tmp_path):
    image = keras.Input((20, 20, 3))
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)).save(tmp_path / "mean.keras")
    given = replace(job, model=tmp_path / "mean.keras", data=face_folder, pixels="raw")
    stored = stages.extract(given, ["flatten"], ["train"])["train"].stored["flatten"]
    assert given.images.shape[1:] == (20, 20, 3)
    mean = given.images.train.X.reshape(36, -1, 3).mean(axis=1)
    np.testing.assert_allclose(stored.X, mean, rtol=1e-4)


def test_images_that_do_not_fit(job, change, toy_file):
    trained = stages.train(job)
    with pytest.raises(ModelError, match=r"8x8x1.*9x9x1"):
        stages.extract(change(job, data={"size": 9}), ["fc1"], trained=trained)


class TestStreamed:
    """Images that go from their source through the trunk, and are kept nowhere in between."""

    @pytest.fixture
    def given(self, job, toy_file, tmp_path, monkeypatch):
        job = replace(job, model=toy_file)
        _ = job.images  # from the cache of all tests
        monkeypatch.setenv("CNNBOOST_CACHE", str(tmp_path / "cache"))
        return job

    def test_features_and_scores_are_those_of_cached_images(self, given, tmp_path):
        cached = stages.extract(given, ["fc1"])
        streaming = replace(given, image_cache=False)
        streamed = stages.extract(streaming, ["fc1"])
        for name, part in streamed.items():
            np.testing.assert_array_equal(part.stored["fc1"].X, cached[name].stored["fc1"].X)
            assert part.stored["fc1"].spec.key != cached[name].stored["fc1"].spec.key
        assert stages.extract(replace(given, image_cache=False), ["fc1"])["train"].stored["fc1"].cached
        scores = [stages.evaluate(job, ["fc1"]).document for job in (given, streaming)]
        assert scores[0]["cnn"]["scores"] == scores[1]["cnn"]["scores"]
        assert scores[0]["heads"][0]["scores"] == scores[1]["heads"][0]["scores"]
        assert scores[0]["cnn"]["train_accuracy"] == scores[1]["cnn"]["train_accuracy"]
        assert not list((tmp_path / "cache").rglob("images.npy"))

    def test_what_was_interrupted_goes_on_after_its_last_part(self, given):
        @contextmanager
        def interrupted(what, unit):
            def report(done, total):
                if done >= 1024 and what.startswith("extract"):
                    raise KeyboardInterrupt

            yield report

        streaming = replace(given, image_cache=False)
        with pytest.raises(KeyboardInterrupt):
            stages.extract(replace(streaming, progress=interrupted), ["fc1"], ["train"])
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
        found = stages.extract(streaming, ["fc1"], ["train"])["train"].stored["fc1"]
        assert found.resumed_from == 1024
        np.testing.assert_array_equal(found.X, stages.extract(given, ["fc1"])["train"].stored["fc1"].X)

    def test_a_network_that_is_trained_here_has_its_images_decoded(self, job):
        with pytest.raises(RecipeError, match=r"--no-image-cache .* name it with --model FILE"):
            stages.extract(replace(job, image_cache=False), ["fc1"])

    def test_only_large_sets_are_streamed_unasked(self, given, monkeypatch):
        assert not isinstance(replace(given).images.pixels, StreamedPixels)
        monkeypatch.setattr("cnnboost.stages.job.MOST_DECODED", 1000)
        monkeypatch.setenv("CNNBOOST_CACHE", str(given.models / "other"))
        assert isinstance(replace(given).images.pixels, StreamedPixels)
        assert not isinstance(replace(given, image_cache=True).images.pixels, StreamedPixels)
