"""The site: `make docs` builds it into build/docs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
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
nitpicky = False
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

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
        if command.hidden:
            text = re.sub(rf"^\* `{name}`:.*\n", "", text, flags=re.MULTILINE)
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


def setup(app) -> None:
    """Connect what is above."""
    app.connect("builder-inited", write_commands)
    app.connect("source-read", link_reports)
    app.connect("build-finished", copy_reports)
