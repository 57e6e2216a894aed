"""Toy images, a toy CNN that is trained once for the whole run, and a recipe that takes a second."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Toy sizes gain nothing from threads, which would take the cores from the other processes of the suite.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import ctypes
import gc
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.browser import browser  # noqa: F401 - a fixture
from tests.dask_processes import client, pids, processes, stopped  # noqa: F401 - fixtures

ROOT = Path(__file__).parent.parent


#: Files that take much memory, which is best taken while little else is there, then those that take long.
#: They begin first, so that both processes end together.
LONGEST = (
    "cluster/test_extraction.py", "cluster/test_training.py", "boost/test_cluster.py",
    "stages/test_on_cluster.py", "architectures/test_vgg19.py", "architectures/test_contract.py",
    "stages/test_recipes.py", "tests/test_docs.py", "cnn/test_training.py", "cli/test_commands.py",
    "stages/test_export.py", "stages/test_stage.py", "stages/test_comparison.py",
    "stages/test_sanity_check.py", "stages/test_hybrids.py", "search/test_study.py", "stages/test_card.py",
    "serve/test_server.py", "features/test_extractor.py", "deploy/test_graph.py", "cnn/test_checkpoint.py",
    "stages/test_networks.py", "stages/test_other_images.py", "hybrid/test_classifier.py",
    "stages/test_evaluation.py", "serve/test_page.py", "tests/test_examples.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    def rank(item):
        path = item.path.as_posix()
        return next((place for place, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give all tests of the cluster to one process, so that one cluster is started."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneCluster(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "cluster" if "cluster" in file else file

    return OneCluster(config, log)


def pytest_collection_finish():
    """Spare the search for garbage the modules, which are none, and let it begin less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Draw the weights and numbers of a test, and of its fixtures, from one seed."""
    import keras
    import tensorflow

    # Keras does not use TensorFlow's own seed, and setting it drops all kernels that TensorFlow has cached.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorflow.random, "set_seed", lambda seed: None)
        keras.utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_arrives():
    """Undo what a shell does to programs in the background: their children would never see a Ctrl-C."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep decoded images of tests out of the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("CNNBOOST_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("CNNBOOST_DATA", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="module", autouse=True)
def _memory_goes_back():
    """Give back what the networks of a file took, before those of the next are made."""
    process = psutil.Process()
    before = process.memory_info().rss
    yield
    # The search for what can go takes half a second.
    if process.memory_info().rss < before + 30_000_000:
        return
    import keras

    keras.utils.clear_session(free_memory=True)
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="module", autouse=True)
def _toy_figures(request):
    """Leave figures empty, but for the tests of the drawing: they are made and written, not drawn."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name in {"cli", "search", "stages"}:
            from matplotlib.figure import Figure

            from cnnboost.report import plots

            patch.setattr(Figure, "draw", lambda self, renderer: None)
            patch.setattr(plots, "_DPI", 30)
        yield


@pytest.fixture(scope="session")
def toy_images() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: uint8 (600, 8, 8, 1) and labels 0..9. Real, small, on every machine."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = np.rint(X[:600] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    X.setflags(write=False)
    return X, y[:600]


@pytest.fixture(scope="session")
def toy_cnn(toy_images):
    """A CNN that knows the toy images; do not fit it again."""
    from cnnboost import CNNClassifier

    return CNNClassifier("digits", epochs=6, batch_size=32, random_state=0).fit(*toy_images)


@pytest.fixture(scope="session")
def toy_file(toy_cnn, tmp_path_factory) -> Path:
    """Return the toy CNN's .keras file."""
    return toy_cnn.save(tmp_path_factory.mktemp("toy") / "cnn.keras")


@pytest.fixture(scope="session")
def toy_bag(toy_images):
    """A bagged hybrid of two networks, residual trees and two views; do not fit it again."""
    from cnnboost import BoostClassifier, CNNClassifier, HybridClassifier

    options = {"filters": [8], "dense": [16, 12]}
    cnn = CNNClassifier("digits", model_options=options, epochs=4, batch_size=32, random_state=0)
    boost = BoostClassifier(n_estimators=6, max_depth=2, learning_rate=0.3, n_jobs=1)
    layers = ["fc1", "fc2"]
    return HybridClassifier(cnn, layers, mode="residual", folds=2, tta="flip", boost=boost).fit(*toy_images)


@pytest.fixture(scope="session")
def fer2013() -> Path:
    """Return the FER-2013 archive, where the machine has it."""
    path = Path(os.environ.get("CNNBOOST_FER2013", ROOT.parent / "shared" / "data" / "fer2013.zip"))
    if not path.is_file():
        pytest.skip("the FER-2013 images are not here; CNNBOOST_FER2013 may name the archive")
    return path


RECIPE = """
title = "Toy"

[data]
source = "digits"
size = 8
channels = 1
validation_fraction = 0.3

[cnn]
architecture = "digits"
epochs = 2
options = { filters = [8], dense = [16, 12] }

[cut]
layers = ["fc1", "fc2", "output"]

[boost]
n_estimators = 4
max_depth = 2

[evaluate]
resamples = 100
"""


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "toy.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def trained_models(recipe_file, tmp_path_factory):
    """Return a models folder where the toy recipe's CNN is trained; copy it, do not write to it."""
    from cnnboost import stages
    from cnnboost.config import load_recipe

    models = tmp_path_factory.mktemp("models")
    stages.train(stages.Job(recipe=load_recipe(recipe_file), models=models))
    return models


@pytest.fixture(scope="session")
def job_in(recipe_file, trained_models):
    """Return a function that gives a job in a folder, whose CNN is trained and nothing else is done."""
    from cnnboost import stages
    from cnnboost.config import load_recipe

    def job_in(folder, *overrides):
        shutil.copytree(trained_models, folder / "models")
        recipe = load_recipe(recipe_file, overrides)
        return stages.Job(recipe=recipe, models=folder / "models", reports=folder / "reports")

    return job_in


@pytest.fixture(scope="session")
def several_models(job_in, change, tmp_path_factory):
    """Return a models folder with every CNN that toy hybrids have; copy it, do not write to it.

    Beside the recipe's own, these are the one of the next seed, those of two folds, and one for which images
    were held out.
    """
    from cnnboost.stages.networks import networks_of

    job = job_in(tmp_path_factory.mktemp("several"))
    for hybrid in ({"networks": 2}, {"folds": 2}, {"holdout": 0.3}):
        networks_of(change(job, hybrid=hybrid))
    return job.models


@pytest.fixture
def job(job_in, tmp_path):
    """Return a job whose CNN is trained and nothing else is done."""
    return job_in(tmp_path)


@pytest.fixture(scope="session")
def copy_of():
    """Return a function that gives a job with its own copy, in a folder, of what another one has made."""

    def copy_of(job, folder):
        for name in ("models", "reports"):
            if getattr(job, name).exists():
                shutil.copytree(getattr(job, name), folder / name)
        return replace(job, models=folder / "models", reports=folder / "reports")

    return copy_of


@pytest.fixture(scope="session")
def change():
    """Return a function that gives a job with some keys of its recipe changed."""

    def change(job, **tables):
        recipe = job.recipe
        for table, keys in tables.items():
            recipe = recipe.model_copy(update={table: getattr(recipe, table).model_copy(update=keys)})
        return replace(job, recipe=recipe)

    return change


@pytest.fixture(scope="session")
def face_folder(tmp_path_factory):
    """Return a folder of class folders in the layout of FER-2013: random noise, bright for one class."""
    from PIL import Image

    root = tmp_path_factory.mktemp("faces") / "data"
    rng = np.random.default_rng(0)
    for split, prefix, n in (
        ("train", "Training", 12),
        ("test", "PublicTest", 10),
        ("test", "PrivateTest", 6),
    ):
        for code, name in enumerate(("angry", "happy", "sad")):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(n):
                pixels = rng.integers(60 * code, 60 * code + 80, (48, 48), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{prefix}_{i}.png")
    return root
