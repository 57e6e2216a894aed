"""A model file that was given: what its input means for the images that are read."""

from dataclasses import replace

import keras
import pytest

from cnnboost import stages
from cnnboost.errors import ModelError
from cnnboost.stages.reporting import report, report_all


def test_other_channels_than_those_of_pictures_are_refused(job, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.save(tmp_path / "four.keras")
    with pytest.raises(ModelError, match=r"four\.keras takes images of 4 channels"):
        stages.extract(replace(job, model=tmp_path / "four.keras"), ["output"])


def test_a_model_of_images_without_channels_is_extracted(job, tmp_path):
    model = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.save(tmp_path / "flat.keras")
    found = stages.extract(replace(job, model=tmp_path / "flat.keras"), ["output"])
    assert found["train"].stored["output"].spec.width == 10


BACKBONES = {
    "a map": lambda: [keras.layers.Conv2D(3, 3)],
    "other width": lambda: [keras.layers.Flatten(), keras.layers.Dense(12)],
    "relu": lambda: [keras.layers.Flatten(), keras.layers.Dense(12, activation="relu")],
    "sigmoids": lambda: [keras.layers.Flatten(), keras.layers.Dense(10, activation="sigmoid")],
}


class TestWithoutSoftmax:
    """A backbone: features, and no probabilities of the classes."""

    @pytest.fixture(params=BACKBONES)
    def backbone(self, request, change, job, tmp_path):
        layers = BACKBONES[request.param]()
        model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        model.save(tmp_path / "backbone.keras")
        cut = {"layers": (layers[-1].name,), "layer": layers[-1].name}
        return replace(change(job, cut=cut), model=tmp_path / "backbone.keras")

    def test_the_trees_are_scored_alone(self, backbone, caplog):
        with caplog.at_level("WARNING", "cnnboost"):
            metrics = stages.evaluation.scores_of(backbone)[0]
        assert metrics["cnn"] is None
        assert "backbone.keras" in metrics["no_softmax"]
        assert "no softmax to compare with" in caplog.text
        (row,) = metrics["heads"]
        assert row["against_cnn"] is None
        assert row["scores"]["accuracy"]["value"] > 0.5
        X = stages.extract(backbone, [row["layer"]])["validation"]
        head = stages.fit_boost(backbone, row["layer"]).boost
        right = (head.predict(X.stored[row["layer"]].X) == X.split.labels).mean()
        assert row["scores"]["accuracy"]["value"] == pytest.approx(right)

    @pytest.mark.parametrize("backbone", ["relu"], indirect=True)
    def test_figures_page_and_bundle_do_without(self, backbone, tmp_path):
        drawn = {path.name for path in stages.evaluate(backbone).figures}
        assert "confusion-cnn.png" not in drawn
        assert "class-accuracy.png" in drawn
        page = report(replace(backbone, model=None)).path.read_text()
        assert "no class probabilities to compare with" in page
        report_all(backbone.reports)
        bundle = stages.export(backbone, out=tmp_path / "bundle").bundle
        assert "cnn.onnx" not in bundle.members

    def test_what_is_made_of_a_softmax_is_refused(self, backbone):
        for call in (
            lambda: stages.evaluate(backbone, modes=["residual"]),
            lambda: stages.fit_hybrid(backbone, mode="blend"),
            lambda: stages.evaluate(backbone, tta="flip"),
        ):
            with pytest.raises(
                ModelError, match=r"is made of the CNN's class probabilities.*backbone\.keras"
            ):
                call()
