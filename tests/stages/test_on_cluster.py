"""The line on a cluster: the same documents as on one machine, and what is done on one machine is refused."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnnboost import stages
from cnnboost.errors import DataError, ModelError, ParameterError
from cnnboost.images.streamed import StreamedPixels


def test_scores_on_a_cluster_are_those_of_one_machine(job, client):
    shutil.copytree(job.models, job.models.with_name("alone"))
    alone = stages.evaluate(replace(job, models=job.models.with_name("alone")), ["fc1", "output"]).metrics
    there = stages.evaluate(replace(job, client=client), ["fc1", "output"]).metrics
    assert there.keys() == alone.keys()
    assert there["cnn"]["train_accuracy"] == pytest.approx(alone["cnn"]["train_accuracy"], abs=0.002)
    for ours, theirs in zip([there["cnn"], *there["heads"]], [alone["cnn"], *alone["heads"]], strict=True):
        assert ours["scores"]["accuracy"]["value"] == pytest.approx(
            theirs["scores"]["accuracy"]["value"], abs=0.03
        )
        assert ours["scores"]["log_loss"]["value"] == pytest.approx(
            theirs["scores"]["log_loss"]["value"], rel=0.1
        )
    # What workers made is up to date for a command on one machine, and the other way round.
    head = stages.fit_boost(job, "fc1")
    assert head.cached
    assert head.details["workers"] == 2
    assert not list(job.models_dir.rglob("*.onnx"))
    again = stages.evaluate(replace(job, client=client), ["fc1", "output"]).metrics
    assert again["heads"] == there["heads"]


def test_streamed_images_are_decoded_by_workers(job, client, toy_file, toy_images, tmp_path):
    for number, (pixels, label) in enumerate(zip(*toy_images, strict=True)):
        path = tmp_path / "digits" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(path)
    data = {"data": tmp_path / "digits", "model": toy_file, "image_cache": False}
    alone = stages.extract(replace(job, **data), ["fc1"], ["train"])["train"].stored["fc1"].X
    there = replace(job, **data, client=client, models=tmp_path / "there")
    found = stages.extract(there, ["fc1"], ["train"])["train"]
    assert isinstance(found.split.pixels, StreamedPixels)
    np.testing.assert_allclose(found.stored["fc1"].X, alone, rtol=1e-4, atol=1e-4)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=f"{path.name}.*not an image"):
        stages.extract(replace(there, force=True), ["fc1"], ["train", "validation"])


def test_what_one_machine_does_is_refused(job, client, change):
    there = replace(job, client=client)
    for do in (
        lambda: stages.fit_hybrid(there, mode="residual"),
        lambda: stages.evaluate(there, ["fc1"], modes=["blend"]),
        lambda: stages.evaluate(there, ["fc1"], tta="flip"),
    ):
        with pytest.raises(ParameterError, match=r"is done on one machine; .* or leave --dask out"):
            do()


def test_a_trunk_that_is_not_that_of_keras_is_refused(toy_cnn, toy_images):
    from cnnboost.cnn.inference import Inference
    from cnnboost.deploy.trunk import Place, check_features, trunk_file
    from cnnboost.features.cut import Cut

    X = toy_images[0][:20]
    trunk = Cut(toy_cnn.model_).trunk(["fc1"])
    places = [Place("fc1", 64)]
    right = Inference(trunk, "raw")(X)
    check_features(trunk_file(trunk, places, pixels="raw", shape=X.shape[1:]), right, X, places)
    wrong = trunk_file(trunk, places, pixels="unit", shape=X.shape[1:])
    with pytest.raises(ModelError, match="differs from Keras at fc1"):
        check_features(wrong, right, X, places)


def test_workers_need_no_tensorflow():
    """What workers import is imported by a program in which there is no TensorFlow and no Keras."""
    import subprocess

    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'jax'): sys.modules[name] = None\n"
        "import cnnboost.deploy.worker, cnnboost.cluster.training, cnnboost.boost.cluster\n"
        "import cnnboost.deploy.image_files, cnnboost.images.shared\n"
        "from cnnboost.boost import BoostClassifier\n"
        "from cnnboost.features import FeatureParts\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
