from cnnboost.deploy.bundle import SHIPPED, read_bundle
from cnnboost.deploy.predictor import Predictor
from cnnboost.serve.about import SECTIONS, about
from cnnboost.stages.card import HEADINGS
from tests.conftest import ROOT
from tests.deploy.small_graph import small_file


def test_the_sections_are_those_that_the_card_command_writes():
    assert {name: HEADINGS[name] for name in SECTIONS} == SECTIONS


def test_a_bundle_with_a_card(toy_bundle):
    found = about(Predictor.load(toy_bundle), read_bundle(toy_bundle))
    assert found["card"]["use"] == "Tests."
    assert found["card"]["misuse"].endswith("- For **anything** else.")
    assert found["input"] == {"height": 8, "width": 8, "channels": 1}


def test_a_single_graph_has_no_card_and_no_scores():
    found = about(Predictor(small_file(kind="cnn")), None)
    assert (found["title"], found["graph"], found["scores"]) == ("toy", "cnn", None)
    assert found["card"] == {"use": None, "misuse": None}


def test_the_card_that_ships_says_what_the_model_must_not_be_used_for():
    bundle = read_bundle(ROOT / "models" / SHIPPED)
    assert "To decide" in about(Predictor.load(bundle), bundle)["card"]["misuse"]
