from cnnboost.report.sections import Findings, report_page
from tests.report.sections.html import PNG, Page


def test_figures_that_no_score_belongs_to_are_left_out(findings):
    figures = {"confusion-fc9.png": PNG, "roc_rarest-class.png": PNG, "notes.txt": b"", "history.png": PNG}
    page = Page(report_page(Findings(findings.metrics, figures=figures)))
    assert page.tags.count("img") == 2
    assert "Roc rarest class" in page.text
    assert page.text.index("over the epochs") < page.text.index("Roc rarest class")
    assert "fc9" not in page.text


def test_figures_stand_in_groups_in_the_order_of_the_line(findings):
    stems = ["roc", "contact-sheet", "confusion-fc1", "class-accuracy", "history", "confusion-cnn", "my-own"]
    stems += ["class-distribution"]
    text = report_page(Findings(findings.metrics, figures={f"{stem}.png": PNG for stem in stems}))
    titles = [
        "Data and training", "Images per class and split", "over the epochs",
        "Confusion matrices", "Confusion matrix of the CNN<", "Confusion matrix of XGBoost at fc1<",
        "Class by class", "Share of each class that is recognised", "Receiver operating characteristic",
        "Others", "My own", "Examples of each class",
    ]  # fmt: skip
    after = text[text.index('id="figures"') :]
    places = [after.index(title) for title in titles]
    assert places == sorted(places)


def test_a_wide_figure_takes_the_whole_width(findings):
    wide = PNG[:16] + (1800).to_bytes(4, "big") + (900).to_bytes(4, "big") + PNG[24:]
    text = report_page(Findings(findings.metrics, figures={"history.png": wide, "roc.png": PNG}))
    assert text.count('class="wide"') == 1
