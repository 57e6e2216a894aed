import copy
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.evaluation.latency_plot import plot_latency
from cnnboost.evaluation.mistakes import Mistake, most_confident_mistakes
from cnnboost.evaluation.page import data_uri, p_value, render, span
from cnnboost.evaluation.plots import plot_class_distribution, plot_confusion, plot_history, save_figure
from cnnboost.evaluation.published import Entry, beside_published, overview_page
from cnnboost.evaluation.report import Findings, report_page, warnings_of

FACTS = Path(__file__).with_name("report_facts.json")
HOSTILE = "<script>alert(1)</script><img src='http://example.com/x'>\"&"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
SPREAD = {"max": 0.6, "min": 0.5, "std": 0.051234, "variance": 0.002624, "mean": 0.55}


@pytest.fixture(scope="module")
def facts():
    """Return scores, audit and latencies of a recipe on FER-2013, as the commands write them, shortened."""
    return json.loads(FACTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def figures(facts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    metrics = facts["metrics"]
    drawn = {
        "class-distribution": plot_class_distribution(facts["audit"]["counts"]),
        "history": plot_history({"loss": [2.0, 1.0], "accuracy": [0.3, 0.5]}),
        "latency": plot_latency(facts["latency"]["rows"]),
        "confusion-cnn": plot_confusion(metrics["cnn"]["scores"]["confusion"], metrics["classes"]),
    }
    for head in metrics["heads"]:
        drawn[f"confusion-{head['layer']}"] = plot_confusion(head["scores"]["confusion"], metrics["classes"])
    paths = [save_figure(figure, folder / f"{name}.png") for name, figure in drawn.items()]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture
def findings(facts, figures):
    """Everything that a page can show: the published report, mistakes, repeated runs and notes."""
    metrics = copy.deepcopy(facts["metrics"])
    classes = [
        {"name": name, "support": 9, "precision": SPREAD, "recall": SPREAD, "f1": SPREAD}
        for name in metrics["classes"]
    ]
    repeats = {
        "repeats": 2,
        "split": "validation",
        "runs": [{"seed": 0}, {"seed": 1}],
        "cnn": {"accuracy": SPREAD, "per_class": classes},
        "heads": [{"layer": "fc1", "mode": "plain", "accuracy": SPREAD, "per_class": classes}],
    }
    mistakes = [Mistake(PNG, f"test/happy/PublicTest_{i}.jpg", "happy", "sad", 0.99) for i in range(12)]
    return Findings(
        metrics,
        copy.deepcopy(facts["audit"]),
        copy.deepcopy(facts["latency"]),
        repeats,
        dict(figures),
        "Why they differ.\n\nSecond paragraph.",
        mistakes,
    )


class Page(HTMLParser):
    """Collects what a page would load, run or link to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.rows, self.said, self.in_cell = [], [], [], [], False
        self.feed(text)
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.said.append(data)
        if self.in_cell:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data}".strip()

    def row(self, *start):
        return [row for row in self.rows if tuple(row[: len(start)]) == start]


def test_the_page_says_what_was_found(findings):
    page = Page(report_page(findings))
    assert page.tags.count("h1") == 1
    assert "On 3,589 images of validation the CNN is right on 57.3% (55.7% to 59.0%)" in page.text
    assert "the highest of 4 boosted heads, at fc1, on 58.1%" in page.text
    assert page.row("CNN softmax", "57.3% 55.7% to 59.0%")
    (flatten,) = page.row("flatten")
    minus = "\N{MINUS SIGN}"
    assert flatten[1:5] == ["57.3%", "54.9%", f"{minus}2.4 {minus}3.7 to {minus}1.1", "0.0015"]
    assert flatten[5].startswith("CNN is better than XGBoost at flatten by 2.40 percentage points")
    assert flatten[6:] == ["401", "315", "1,024", "20"]
    assert page.row("XGBoost at flatten", "53.5%", "54.9%", "53.3% to 56.6%", "+1.4", "inside the interval")
    assert page.row("XGBoost at fc1", "55.2%", "58.1%", "56.5% to 59.7%", "+2.9", "below the interval")
    assert "Oslo study, PublicTest and PrivateTest together" in page.text
    assert "Why they differ." in page.text
    assert page.row("Seeds", "data 0, cnn 0, boost 0, evaluate 0")
    assert page.row("cnn.options.filters", "[32, 64, 64]")
    assert page.row("train", "3,995", "436")
    assert page.row("Contradicting labels", "47 groups of identical images")
    assert page.row("disgust", "56")
    assert page.row("CNN softmax", "55.0%", "5.12%", "0.00262", "50.0%", "60.0%")
    assert "labelled happy" in page.text


def test_head_only_rows_are_labelled(findings):
    page = Page(report_page(findings))
    rows = [row for path in ("head/dmatrix head only", "head/inplace head only") for row in page.row(path)]
    assert len(rows) == 2 * 2
    assert page.text.count("head only") == 1 + len(rows)
    assert len(page.row("hybrid/onnx", "0.0695")) == 1
    without = Page(report_page(Findings(findings.metrics, figures=findings.figures)))
    assert "head only" not in without.text
    assert "was not audited" in without.text


def test_nothing_is_loaded_from_elsewhere(findings):
    text = report_page(findings)
    page = Page(text)
    assert page.tags.count("img") == len(findings.figures) + 12 == 8 + 12
    assert all(re.match(r"data:image/png;base64,|#\w+$", address) for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'; img-src data:" in text
    assert "url(" not in text
    assert "@import" not in text


def test_everything_is_escaped(findings):
    metrics = findings.metrics
    metrics["title"] = metrics["published"]["source"] = metrics["cnn"]["scores"]["per_class"][0]["name"] = (
        HOSTILE
    )
    metrics["heads"][0]["layer"] = metrics["recipe_facts"]["cnn"]["architecture"] = HOSTILE
    findings.audit["source"] = HOSTILE
    findings.latency["rows"][0]["path"] = HOSTILE
    wild = Findings(
        metrics, findings.audit, findings.latency, findings.repeats, {f"{HOSTILE[:8]}.png": PNG}, HOSTILE,
        [Mistake(PNG, HOSTILE, HOSTILE, HOSTILE, 0.5)],
    )  # fmt: skip
    for text in (report_page(wild), overview_page([Entry(metrics, "oslo/index.html", HOSTILE)])):
        page = Page(text)
        assert "script" not in page.tags
        assert not [address for address in page.addresses if "example.com" in address]
        assert HOSTILE in page.text


def test_figures_that_no_score_belongs_to_are_left_out(findings):
    figures = {"confusion-fc9.png": PNG, "roc_rarest-class.png": PNG, "notes.txt": b"", "history.png": PNG}
    page = Page(report_page(Findings(findings.metrics, figures=figures)))
    assert page.tags.count("img") == 2
    assert "Roc rarest class" in page.text
    assert page.text.index("over the epochs") < page.text.index("Roc rarest class")
    assert "fc9" not in page.text


def test_warnings(findings):
    metrics = findings.metrics
    assert len(warnings_of(findings)) == 1
    assert "270 groups" in warnings_of(findings)[0]
    metrics["heads"][1]["collapsed"] = {"class": "happy", "share": 0.97}
    metrics["images_left_out"] = 3
    findings.audit["n_images"] += 1
    findings.latency["rows"][0]["accuracy"] = 0.2
    found = " ".join(warnings_of(findings))
    for words in ("XGBoost at fc1 calls 97.0% of the images happy", "3 images", "32,299", "another model"):
        assert words in found
    assert "calls 97.0%" in Page(report_page(findings)).text


def test_a_recipe_without_published_numbers(findings):
    metrics = {**findings.metrics, "published": None, "title": ""}
    page = Page(report_page(Findings(metrics)))
    assert "Published" not in page.text
    assert "oslo" in page.text
    assert [row.place for row in beside_published(metrics)] == [""] * 5


def test_differences_want_a_reason(findings):
    assert "nobody has said why" not in report_page(findings)
    assert "nobody has said why" in report_page(Findings(findings.metrics))


def test_overview_has_a_row_for_every_head(findings):
    other = {**findings.metrics, "recipe": "other", "title": "Other", "published": None}
    page = Page(overview_page([Entry(findings.metrics, "oslo/index.html", "Because."), Entry(other)]))
    assert len(page.row("CNN softmax")) == 2
    (own, _) = page.row("XGBoost at fc1")
    assert own[1:6] == ["55.2%", "58.1%", "56.5% to 59.7%", "+2.9", "below the interval"]
    assert "oslo, validation, 3,589 images" in page.text
    assert page.addresses == ["oslo/index.html"]
    assert "Because." in page.text


def test_a_missing_fact_is_an_error_and_not_an_empty_cell(findings):
    del findings.metrics["heads"][0]["rounds"]
    with pytest.raises(DataError, match="rounds"):
        report_page(findings)
    with pytest.raises(DataError, match=r"\.bmp"):
        data_uri(b"", ".bmp")
    with pytest.raises(DataError, match="recipes"):
        render("overview.html.j2")


@pytest.mark.parametrize("place", ["below", "above", "inside"])
def test_where_a_published_number_lies(findings, place):
    metrics = findings.metrics
    low, high = metrics["cnn"]["scores"]["accuracy"]["interval"]
    metrics["published"]["cnn"] = {"below": low - 0.001, "above": high + 0.001, "inside": low}[place]
    row = beside_published(metrics)[0]
    assert row.place.startswith(place)
    assert row.outside == (place != "inside")
    assert row.difference == pytest.approx(row.own - metrics["published"]["cnn"])


@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_mistakes_are_wrong_and_the_surest_ones(n, k, count, seed):
    rng = np.random.default_rng(seed)
    proba, y = rng.dirichlet(np.ones(k), n), rng.integers(0, k, n)
    rows = most_confident_mistakes(proba, y, count)
    said = proba.argmax(axis=1)
    wrong = np.flatnonzero(said != y)
    assert len(rows) == min(count, len(wrong)) == len(set(rows.tolist()))
    assert (said[rows] != y[rows]).all()
    sure = proba.max(axis=1)
    assert (np.diff(sure[rows]) <= 0).all()
    assert not len(rows) or sure[rows].min() >= max(sure[np.setdiff1d(wrong, rows)], default=0)


def test_numbers_as_people_read_them():
    assert [p_value(p) for p in (0.5, 0.0123, 1e-9)] == ["0.50", "0.0123", "< 0.0001"]
    assert span((-0.5, 0.25), False) == "\N{MINUS SIGN}0.500 to 0.250"


# A browser. Its own policy forbids scripts in the page, so the copy that measures goes without it.
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
)
MEASURE = """<script>addEventListener("load", () => parent.postMessage(JSON.stringify({
  inner: innerWidth, scroll: document.documentElement.scrollWidth,
  drawn: [...document.images]
    .map(i => i.complete && i.naturalWidth > 0 && i.getBoundingClientRect().width > 0),
  asked: performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:")),
  outside: [...document.querySelectorAll("body *")]
    .filter(e => !e.closest(".scroll table") && e.getBoundingClientRect().right > innerWidth + 0.5)
    .map(e => e.tagName + "." + e.className)}), "*"))</script></body>"""
FRAME = """<!doctype html><body><script>addEventListener("message", e => {
  document.getElementById("found").textContent = e.data })</script><pre id="found"></pre>
<iframe src="page.html" style="width:%dpx;height:5000px;border:0"></iframe></body>"""


@pytest.fixture
def measure(tmp_path):
    """Return a function that lays a page out at a width and says what it measures."""
    if BROWSER is None:
        pytest.skip("there is no Chromium here to look at the page with")

    def measure(text, width):
        # A window is never narrower than 500 pixels; a frame in it is.
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        (tmp_path / "page.html").write_text(text.replace("</body>", MEASURE), encoding="utf-8")
        (tmp_path / "frame.html").write_text(FRAME % width, encoding="utf-8")
        command = [
            BROWSER, *QUIET.split(), f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,900",
            "--virtual-time-budget=10000", "--dump-dom", (tmp_path / "frame.html").as_uri(),
        ]  # fmt: skip
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        return json.loads(re.search(r'<pre id="found">(.+?)</pre>', shown).group(1))

    return measure


@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser_every_figure_is_drawn_and_nothing_overflows(measure, findings, width):
    findings.metrics["title"] = "A_title_of_one_word_" * 8
    findings.metrics["cnn"]["scores"]["per_class"][0]["name"] = "a_class_of_one_long_word_" * 4
    found = measure(report_page(findings), width)
    assert found["inner"] == width
    assert found["scroll"] <= width
    assert found["outside"] == []
    assert found["drawn"] == [True] * 20
    assert found["asked"] == []
    found = measure(overview_page([Entry(findings.metrics, "oslo/index.html", "word" * 100)]), width)
    assert (found["inner"], found["scroll"] <= width, found["outside"]) == (width, True, [])


def test_the_measurement_sees_a_page_that_overflows_and_loads(measure):
    found = measure(
        "<html><body><div style='width:900px'>x</div><img src='http://127.0.0.1:9/x'></body></html>", 400
    )
    assert found["scroll"] > 400
    assert found["outside"] == ["DIV."]
    assert found["drawn"] == [False]
    assert found["asked"] == ["http://127.0.0.1:9/x"]
