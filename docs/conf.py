"""The site: `make docs` builds it into build/docs."""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

HERE = Path(__file__).parent
LINK = re.compile(r'<(?:a|img|link|script)\b[^>]*?\b(?:href|src)="([^"]+)"')
NAMED = re.compile(r'\bid="([^"]+)"')
log = logging.getLogger(__name__)
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cnnboost  # noqa: E402

project = "cnnboost"
author = copyright = "The cnnboost developers"
version = release = cnnboost.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["gallery/**/*.ipynb", "gallery/**/*.py", "gallery/**/*.md5", "gallery/**/*.zip"]
suppress_warnings = ["config.cache"]

default_role = "code"  # `name` in a docstring

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings state types, shapes and units
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "capture_repr": (),
    "show_signature": False,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"cnnboost {version}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def write_commands(app) -> None:
    """Write the page of the commands from their parser; hidden ones are left out."""
    from typer.main import get_command

    from cnnboost.cli import app as program

    run = [sys.executable, "-m", "typer", "cnnboost.cli", "utils", "docs", "--name", "cnnboost"]
    text = subprocess.run(run, cwd=HERE.parent, capture_output=True, text=True, check=True).stdout
    for name, command in get_command(program).commands.items():
        # The list cuts sentences short to fit a terminal.
        first = " ".join((command.help or "").split("\n\n")[0].split())
        line = "" if command.hidden else f"* `{name}`: {first}\n"
        text = re.sub(rf"^\* `{name}`:.*\n", lambda _, line=line: line, text, flags=re.MULTILINE)
        if command.hidden:
            text = re.sub(rf"^## `cnnboost {name}`\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    (HERE / "reference" / "commands.md").write_text(text.replace("# `cnnboost`", "# Commands", 1))


def link_reports(app, name: str, source: list[str]) -> None:
    """Let links to pages of reports lead to their copies in the site."""
    source[0] = re.sub(
        r"\[([^\]]+)\]\(\.\./reports/([^)]+\.html)\)", r'<a href="reports/\2">\1</a>', source[0]
    )


def copy_reports(app, error: Exception | None) -> None:
    """Copy the pages of the reports, each self-contained, into the site."""
    if error is None and app.builder.name == "html":
        for page in sorted((HERE.parent / "reports").glob("**/index.html")):
            target = Path(app.outdir, "reports", page.relative_to(HERE.parent / "reports"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, target)


def check_links(app, error: Exception | None) -> None:
    """Warn of links within the site that lead to no file, or to no place on a page."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir).resolve()
    found = {page: page.read_text() for page in out.glob("**/*.html")}
    places = {page: {html.unescape(name) for name in NAMED.findall(text)} for page, text in found.items()}
    for page, text in found.items():
        if page.relative_to(out).parts[0] in ("reports", "_static"):
            continue  # they hold all that they show, or are templates of the theme
        for link in map(html.unescape, LINK.findall(text)):
            parts = urlsplit(link)
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            there = target.is_file() and (not parts.fragment or unquote(parts.fragment) in places[target])
            if not (parts.scheme or parts.netloc or there):
                log.warning("%s: dead link %s", page.relative_to(out), link)


def setup(app) -> None:
    """Connect what is above."""
    app.connect("builder-inited", write_commands)
    app.connect("source-read", link_reports)
    app.connect("build-finished", copy_reports)
    app.connect("build-finished", check_links, priority=900)  # when the gallery has written its links too
