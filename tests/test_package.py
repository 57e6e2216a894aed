import json
import re
import subprocess
import sys

import pytest

import cnnboost
from cnnboost import errors

LOADED = "import json, sys; print(json.dumps(sorted(sys.modules)))"
HEAVY = ("tensorflow", "keras", "xgboost", "sklearn", "matplotlib", "pandas")


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LOADED}"], check=True, capture_output=True, text=True
    )
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "code",
    [
        "import cnnboost",
        "import cnnboost.cli.commands",
        "import cnnboost.images",
        "import cnnboost.config",
        "import cnnboost.features.store",
    ],
)
def test_light_imports_stay_light(code):
    assert not modules_after(code) & set(HEAVY)


def test_importing_the_estimators_needs_neither_tensorflow_nor_xgboost():
    code = "from cnnboost import CNNClassifier, CNNFeatures, BoostClassifier"
    assert not modules_after(code) & {"tensorflow", "keras", "xgboost"}


def test_every_public_name_is_there():
    for name in cnnboost.__all__:
        assert getattr(cnnboost, name) is not None
    assert set(cnnboost.__all__) <= set(dir(cnnboost))
    with pytest.raises(AttributeError, match="BoostClassifier"):
        _ = cnnboost.Boost


def test_the_version_is_that_of_changelog_and_citation():
    from tests.conftest import ROOT

    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = re.fullmatch(rf"\[{re.escape(cnnboost.__version__)}\] - (\d{{4}}-\d\d-\d\d)", headings[1])
    assert released
    citation = (ROOT / "CITATION.cff").read_text().splitlines()
    assert {f"version: {cnnboost.__version__}", f"date-released: {released[1]}"} <= set(citation)


def test_errors_are_what_a_caller_would_catch():
    expected = {
        errors.DataError: ValueError,
        errors.RecipeError: ValueError,
        errors.ParameterError: ValueError,
        errors.ModelError: ValueError,
        errors.LayerError: ValueError,
        errors.FeatureError: ValueError,
        errors.StoreError: OSError,
        errors.TrainingError: RuntimeError,
        errors.DeviceError: RuntimeError,
        errors.ServerError: RuntimeError,
    }
    for error, builtin in expected.items():
        assert issubclass(error, errors.CnnboostError)
        assert issubclass(error, builtin)
        assert str(error("what, where, remedy")) == "what, where, remedy"
    assert errors.DataError("x", [errors.BadInput("a.png", "empty")]).bad[0].place == "a.png"


def test_the_help_waits_for_no_large_package():
    """What `--help` imports decides how soon its first line is there."""
    assert not modules_after("import cnnboost.cli") & {
        *HEAVY,
        "jinja2",
        "numpy",
        "optuna",
        "pydantic",
        "scipy",
    }
