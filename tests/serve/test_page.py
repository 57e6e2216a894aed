"""The page in a real browser: dropped, chosen and filmed pictures, keyboard, widths, and what it asks for."""

import base64
import re

import pytest
from PIL import Image

from tests.deploy.small_graph import CLASSES, expected
from tests.serve.conftest import pixels, png

DROP = """files => {
  const data = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: name.endsWith(".txt") ? "text/plain" : "image/png" }));
  }
  document.querySelector(".drop").dispatchEvent(
    new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def visit(browser, server):
    """Return a function that opens the page at a width; nothing may be asked of others, nor go wrong."""
    asked, wrong, contexts = [], [], []

    def visit(width=1400, path="", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.goto(server.address + path)
        if not path:
            page.get_by_role("heading", name="A toy").wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith((server.address, "blob:", "data:"))] == []
    assert asked
    # A refusal is an answer: the browser notes it all the same.
    assert [text for text in wrong if "status of 4" not in text] == []


def encoded(content):
    return base64.b64encode(content).decode()


def label(seed):
    return CLASSES[expected(pixels(seed)[None, ..., None])[0].argmax()]


def overflowing(page):
    """What is wider than the window."""
    return page.evaluate(
        "() => [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > "
        "innerWidth + 0.5 && e.getClientRects().length).map(e => e.tagName + '.' + e.className)"
    )


def wait_for_pictures(page, number=20):
    """Wait until so many pictures of the camera were answered and drawn."""
    digits = f"[{number // 10}-9]\\d|\\d{{3,}}"
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(page.locator("#live")).to_have_attribute("data-drawn", re.compile(f"^({digits})$"), timeout=60_000)


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_that_are_dropped_are_shown_with_their_classes(visit, width, scheme, tmp_path):
    page = visit(width, color_scheme=scheme)
    large = encoded(png(pixels(9, (900, 700, 3))))
    files = [["0.png", encoded(png(pixels(0)))], ["large.png", large], ["notes.txt", encoded(b"no")]]
    page.evaluate(DROP, files)
    page.get_by_role("status").get_by_text("2 of 2 pictures").wait_for()
    assert page.get_by_role("alert").inner_text() == "A file that is not a picture was left out."
    refused = page.get_by_role("listitem").filter(has_text="large.png")
    assert "larger than 400,000 bytes" in refused.locator(".error").inner_text()
    entry = page.get_by_role("listitem").filter(has_text="0.png")
    assert entry.locator("caption").inner_text().startswith(label(0))
    assert label(0) in entry.get_by_role("img").get_attribute("alt")
    assert entry.get_by_role("rowheader").first.inner_text() == label(0)
    assert entry.locator(".box").inner_text().startswith(label(0))
    box, picture = (entry.locator(one).bounding_box() for one in (".box", "img"))
    assert box == pytest.approx(picture, abs=1)
    assert overflowing(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"page-{width}-{scheme}.png", full_page=True)


def test_what_the_model_must_not_be_used_for_is_there(visit):
    page = visit()
    box = page.get_by_role("complementary")
    assert box.get_by_role("heading").inner_text() == "What it must not be used for"
    assert [item.inner_text() for item in box.get_by_role("listitem").all()] == [
        "To decide anything about a person, or to watch people.",
        "For anything else.",
    ]
    assert page.get_by_text("75\u00a0% of 1,000 images (validation)").is_visible()


def test_it_works_with_the_keyboard_alone(visit, tmp_path):
    page = visit()
    (tmp_path / "0.png").write_bytes(png(pixels(0)))
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        shown = page.evaluate(
            "() => { const e = document.activeElement, f = e.type === 'file' ? e.nextElementSibling : e; "
            "return getComputedStyle(f).outlineStyle }"
        )
        assert shown != "none", f"nothing shows that {reached[-1]} has the focus"
    assert reached[2:] == ["files", "folder", "camera"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(tmp_path / "0.png")
    page.get_by_role("status").get_by_text("1 of 1 pictures").wait_for()


def drop(page, path):
    """Drop a file or folder of the disk, as the system's file manager does."""
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})


@pytest.mark.parametrize("way", ["dropped", "chosen"])
def test_a_folder_is_taken_with_what_lies_below_it(visit, tmp_path, way):
    page = visit()
    (tmp_path / "folder" / "below").mkdir(parents=True)
    for i in range(12):
        (tmp_path / "folder" / "below" / f"{i}.png").write_bytes(png(pixels(i)))
    (tmp_path / "folder" / "notes.txt").write_text("no")
    (tmp_path / "folder" / "broken.png").write_bytes(b"no")
    if way == "dropped":
        drop(page, tmp_path / "folder")
    else:
        page.get_by_label("Choose a folder").set_input_files(tmp_path / "folder")
    page.get_by_role("status").get_by_text("13 of 13 pictures, 1 could not be used").wait_for()
    for i in range(12):
        entry = page.get_by_role("listitem").filter(has_text=re.compile(f"(^|/){i}[.]png"))
        assert entry.locator("caption").inner_text().startswith(label(i))
    broken = page.get_by_role("listitem").filter(has_text="broken.png")
    assert "not an image" in broken.locator(".error").inner_text()
    assert page.get_by_role("button", name="Stop").is_hidden()


def test_faces_are_boxed_where_they_are(visit, portrait, tmp_path):
    page = visit(400)
    Image.fromarray(portrait).save(tmp_path / "portrait.jpg")
    page.get_by_label("Look for faces").check()
    page.get_by_label("Choose pictures").set_input_files(tmp_path / "portrait.jpg")
    page.get_by_role("status").get_by_text("1 of 1 pictures").wait_for()
    entry = page.get_by_role("listitem").filter(has_text="portrait.jpg")
    assert entry.locator("caption").inner_text().startswith("Face 1: ")
    box, picture = (entry.locator(one).bounding_box() for one in (".box", "img"))
    middle = (box["x"] + box["width"] / 2 - picture["x"]) / picture["width"]
    assert 0.38 < middle < 0.5  # her nose is at 0.43
    assert 0.1 < box["width"] / picture["width"] < 0.3
    page.screenshot(path=tmp_path / "faces.png", full_page=True)


def test_the_camera_is_watched_until_it_is_turned_off(visit):
    page = visit(400)
    button = page.get_by_role("button", name="Turn the camera on")
    button.focus()
    page.keyboard.press("Space")
    wait_for_pictures(page)
    live = page.get_by_role("region", name="Camera")
    assert live.locator(".box").count() == 1
    assert live.get_by_role("rowheader").count() == len(CLASSES)
    assert page.get_by_role("status").inner_text().startswith("Camera: ")
    assert overflowing(page) == []
    page.get_by_role("button", name="Turn the camera off").click()
    assert live.is_hidden()
    assert page.get_by_role("status").inner_text() == "The camera is off."


def test_a_camera_that_is_not_allowed_is_said(visit):
    page = visit()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = "
        "() => Promise.reject(new DOMException('', 'NotAllowedError')) }"
    )
    page.get_by_role("button", name="Turn the camera on").click()
    page.get_by_role("alert").get_by_text("The camera cannot be used: it was not allowed.").wait_for()


def test_the_documents_are_a_page_of_their_own(visit):
    page = visit(400, "docs")
    assert page.get_by_role("heading", name="POST /predict").is_visible()
    assert page.get_by_role("link", name="OpenAPI").get_attribute("href") == "openapi.json"
    assert overflowing(page) == []
