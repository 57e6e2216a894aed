"""The line on a cluster: the same documents as on one machine, and what is done on one machine is refused."""

import os
import shutil
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnnboost import stages
from cnnboost.cluster import training
from cnnboost.config import load_recipe
from cnnboost.errors import DataError, ParameterError
from cnnboost.images.streamed import StreamedPixels
from cnnboost.stages.on_cluster import cluster_of
from tests.cluster.test_extraction import after_first_part, bytes_of
from tests.cluster.test_training import when_trees_are_kept
from tests.waiting import wait_until


def test_scores_on_a_cluster_are_those_of_one_machine(job, client):
    shutil.copytree(job.models, job.models.with_name("alone"))
    alone = stages.evaluate(replace(job, models=job.models.with_name("alone")), ["fc1", "output"]).document
    there = stages.evaluate(replace(job, client=client), ["fc1", "output"]).document
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
    again = stages.evaluate(replace(job, client=client), ["fc1", "output"]).document
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


@pytest.mark.slow
def test_workers_die_while_fer2013_is_extracted_and_while_trees_grow_on_it(
    fer2013, recipe_file, client, pids, stopped, tmp_path, monkeypatch, caplog
):
    from cnnboost.cnn.architectures import build

    network = tmp_path / "network.keras"
    build("digits", (48, 48, 1), 7, {"filters": [8], "dense": [16, 12]}).save(network)
    recipe = load_recipe(
        recipe_file,
        ["data.size=48", "data.validation_fraction=0", "boost.n_estimators=60", "boost.max_depth=6"],
    )
    alone = stages.Job(
        recipe=recipe, data=fer2013, model=network, models=tmp_path / "alone", reports=tmp_path / "reports",
        client=client,
    )  # fmt: skip
    wanted = bytes_of(stages.extract(alone, ["fc1"], ["train"]))
    assert sum(name.startswith("part-") for _, name in wanted) > 1

    job = replace(alone, models=tmp_path / "killed")
    cluster_of(job)
    first, second = pids.values()
    with stopped(first):  # its parts cannot be finished by it
        job = after_first_part(job, lambda: os.kill(first, signal.SIGKILL))
        assert bytes_of(stages.extract(job, ["fc1"], ["train"])) == wanted
    wait_until(lambda: len(client.nthreads()) == 2)

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    thread = when_trees_are_kept(client, lambda: os.kill(second, signal.SIGKILL))
    head = stages.fit_boost(job, "fc1")
    thread.join()
    assert head.rounds == 60
    assert "it goes on from round" in caplog.text
    assert "from round 0" not in caplog.text
    wait_until(lambda: len(client.nthreads()) == 2)
    undisturbed = stages.fit_boost(alone, "fc1")
    split = stages.extract(job, ["fc1"], ["train"])["train"]
    X, labels = split.stored["fc1"].X, split.split.labels
    right = [float((one.boost.predict(X) == labels).mean()) for one in (head, undisturbed)]
    assert right[0] == pytest.approx(right[1], abs=0.02)
