"""The bundle that ships: a trained model that is there without being named."""

from __future__ import annotations

from pathlib import Path

from cnnboost.deploy.bundle import Bundle, is_bundle, read_bundle
from cnnboost.errors import StoreError

NAME = "fer2013"
"""Of the recipe whose bundle ships."""


def shipped_bundle() -> Bundle:
    """Read the bundle that came with the package: emotions of faces, trained on FER-2013.

    Its images are faces that were cut out beforehand: nothing here finds a face in a photograph. What it
    can, and what it must not be used for, stands in the `README.md` beside it.
    """
    folders = [folder / NAME for folder in _places()]
    for folder in folders:
        if is_bundle(folder):
            try:
                return read_bundle(folder)
            except StoreError as error:
                raise StoreError(
                    f"the bundle that ships with cnnboost is damaged: {error}, or install cnnboost anew"
                ) from error
    raise StoreError(
        f"no bundle came with this copy of cnnboost (looked in {', '.join(map(str, folders))}); name one "
        "with --model, or a recipe with --recipe, whose bundle is made where there is none"
    )


def describe(bundle: Bundle, graph: str = "hybrid") -> str:
    """Say in a line which model a bundle holds, and how good it is."""
    manifest = bundle.manifest
    said = manifest.get("title") or manifest["recipe"]
    scores = manifest.get("scores") or {}
    if graph in scores:
        said += (
            f"; accuracy {scores[graph]['accuracy']:.1%} on {scores['images']:,} images of {scores['split']}"
        )
    return f"{said} ({bundle.folder})"


def _places() -> tuple[Path, ...]:
    """Return where it stands in a wheel, and in a checkout."""
    package = Path(__file__).parent.parent
    return package / "models", package.parent / "models"
