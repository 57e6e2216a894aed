from cnnboost.report.recipe_page import Findings, report_page
from tests.report.html import PNG, Page


def thresholds(f1):
    at = {"accuracy": 0.81, "average_class_accuracy": 0.72, "precision": 0.63, "recall": 0.54, "f1": 0.45}
    return {
        "positive": "happy",
        "average_precision": {"value": 0.611, "interval": [0.58, 0.64]},
        "best": {**at, "threshold": 0.243, "f1": {"value": f1, "interval": [0.1, 0.9]}},
        "sweep": [{**at, "threshold": 0.4}, {**at, "threshold": 0.42}],
    }


def test_two_classes_have_a_section_of_thresholds(findings):
    metrics = findings.metrics
    figures = {"precision-recall.png": PNG, "threshold-sweep.png": PNG, "roc.png": PNG}
    text = report_page(Findings(metrics, figures=figures))
    assert text.count("<img") == 3  # the figures are shown all the same
    assert 'id="thresholds"' not in text
    metrics["cnn"]["thresholds"] = thresholds(0.555)
    metrics["heads"][0]["thresholds"] = thresholds(0.666)
    text = report_page(Findings(metrics, figures=figures))
    page = Page(text)
    assert "An image is called happy where its probability reaches a threshold" in page.text
    assert "chosen on the images that are scored here, which flatters them" in page.text
    row = ["61.1% 58.0% to 64.0%", "55.5% 10.0% to 90.0%", "0.243", "63.0%", "54.0%"]
    assert page.row("CNN softmax", *row)
    assert len(page.row("0.42", "81.0%", "72.0%", "63.0%", "54.0%", "45.0%")) == 2
    section = text[text.index('id="thresholds"') : text.index('id="figures"')]
    assert (section.count("<img"), text.count("<img")) == (2, 3)


def test_the_area_under_the_curve_stands_with_each_class(findings):
    assert "AUC" not in Page(report_page(findings)).text
    findings.metrics["cnn"]["auc"] = {"disgust": {"value": 0.9123, "interval": [0.88, 0.95]}}
    page = Page(report_page(findings))
    assert page.row("class", "images", "precision", "recall", "F1", "AUC")
    (cnn, *heads) = page.row("disgust", "56")
    assert cnn[-1] == "0.912 0.880 to 0.950"
    assert {row[-1] for row in heads} == {"\N{EN DASH}"}


def test_without_a_softmax_heads_stand_alone(findings):
    metrics = {**findings.metrics, "cnn": None, "no_softmax": "its output has 9 values"}
    for head in metrics["heads"]:
        head["against_cnn"] = None
    text = Page(report_page(Findings(metrics))).text
    assert "gives no class probabilities to compare with (its output has 9 values); the highest of" in text
    assert "at fc1, is right on 58.1%" in text
    assert "CNN beside hybrid" not in text
