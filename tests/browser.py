"""A Chromium that is installed, driven by Playwright."""

import shutil

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --use-fake-device-for-media-stream "
    "--use-fake-ui-for-media-stream"
)


@pytest.fixture(scope="module")
def browser():
    """Return a browser, shared by the tests of a module."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if BROWSER is None:
        pytest.skip("there is no Chromium here to look at the page with")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=BROWSER, args=FLAGS.split())
        yield running
        running.close()
