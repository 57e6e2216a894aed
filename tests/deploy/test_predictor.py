"""The predictor runs exported graphs on ONNX Runtime alone, from any thread, and refuses what is not one."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse import csr_array

from cnnboost.deploy.bundle import write_bundle
from cnnboost.deploy.graph_file import add_checksum, serialise
from cnnboost.deploy.image_files import find_images, predict_files
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import DataError, ModelError, ParameterError, StoreError

from .small_graph import CLASSES, MANIFEST, expected, metadata_of, small_file, small_graph


@pytest.fixture(scope="module")
def predictor():
    return Predictor(small_file(), threads=2)


@pytest.fixture(scope="module")
def colour():
    return Predictor(small_file((6, 4, 3)))


@pytest.fixture
def bundle(tmp_path):
    members = {"hybrid.onnx": small_file(), "cnn.onnx": small_file(seed=1, kind="cnn"), "cnn.keras": b"cnn"}
    return write_bundle(tmp_path / "toy", MANIFEST, members)


class TestPrediction:
    @settings(max_examples=30)
    @given(n=st.integers(1, 5000))
    def test_every_batch_size_gives_what_the_graph_means(self, predictor, images, n):
        found = predictor.predict_proba(images[:n])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected(images[:n]), atol=1e-5)
        assert predictor.predict(images[:n]).tolist() == np.array(CLASSES)[found.argmax(axis=1)].tolist()

    @pytest.mark.parametrize(
        "convert",
        [
            lambda X: X[..., 0],
            lambda X: X.astype(">i4"),
            lambda X: X.astype(np.float16),
            np.asfortranarray,
            lambda X: np.repeat(X, 2, axis=0)[::2],
            lambda X: X.tolist(),
            list,
            lambda X: X,  # memory-mapped
        ],
    )
    def test_the_same_pixels_in_another_form(self, predictor, images, tmp_path, convert):
        X = np.memmap(tmp_path / "x", mode="w+", shape=(70, 8, 8, 1))
        X[:] = images[:70]
        np.testing.assert_allclose(predictor.predict_proba(convert(X)), expected(images[:70]), atol=1e-5)

    def test_bool_is_black_and_white(self, predictor, images):
        X = images[:9] > 127
        np.testing.assert_array_equal(
            predictor.predict_proba(X), predictor.predict_proba(X.astype(np.uint8) * np.uint8(255))
        )

    def test_large_batches_go_through_in_slices(self, images):
        own = Predictor(small_file(), threads=1)
        run, sizes = own._run, []

        def counted(outputs, inputs):
            sizes.append(len(inputs["image"]))
            return run(outputs, inputs)

        own._run = counted
        own.predict_proba(images)
        assert sum(sizes) == len(images)
        assert max(sizes) <= own._slices.most < len(images)

    def test_colour_and_what_a_predictor_says_it_is(self, colour):
        X = np.random.default_rng(1).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
        np.testing.assert_allclose(colour.predict_proba(X), expected(X), atol=1e-5)
        assert repr(colour) == "<Predictor the model: 6 x 4 RGB, hybrid, 3 classes>"

    def test_labels_that_are_numbers_have_names(self, images):
        own = Predictor(small_file(classes=(7, 8, 9)), threads=1)
        (row,) = own.predict_proba(images[:1])
        assert own.predict(images[:1]).tolist() == [7 + row.argmax()]
        assert own.names == ["7", "8", "9"]
        assert own.named(row) == dict(zip(own.names, map(float, map(str, row)), strict=True))


@pytest.fixture(scope="module")
def files(odd_images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, content in odd_images.items():
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def wanted(colour, files):
    """Return what the command line says of these files."""
    rows = list(predict_files(colour, find_images(map(str, files))))
    assert all(row.error is None for row in rows)
    return np.stack([row.probabilities for row in rows])


class TestPictures:
    @pytest.mark.parametrize(
        "form",
        [
            lambda path: path,
            str,
            Image.open,
            lambda path: path.read_bytes(),
            lambda path: bytearray(path.read_bytes()),
        ],
        ids=["Path", "str", "Pillow", "bytes", "bytearray"],
    )
    def test_any_form_of_a_picture_gives_what_the_command_line_gives(self, colour, files, wanted, form):
        np.testing.assert_array_equal(colour.predict_proba([form(path) for path in files]), wanted)
        for path, row in zip(files, wanted, strict=True):
            np.testing.assert_array_equal(colour.predict_proba(form(path)), row[None])
            assert colour.predict((form(path),)).tolist() == [CLASSES[row.argmax()]]

    def test_arrays_of_any_size_are_resized_as_pictures_are(self, colour, files, wanted):
        plain = [path for path in files if path.name in ("grey.jpg", "page.tif", "plain.png")]
        rows = [files.index(path) for path in plain]
        arrays = [np.asarray(Image.open(path)) for path in plain]
        np.testing.assert_array_equal(colour.predict_proba(arrays), wanted[rows])
        np.testing.assert_array_equal(
            colour.predict_proba([plain[0], arrays[1].astype(float)]), wanted[rows[:2]]
        )

    def test_a_bad_one_is_named(self, colour, files, tmp_path):
        bad = tmp_path / "bad.png"
        bad.write_bytes(files[-1].read_bytes()[:60])
        for form in (bad, str(bad), bad.read_bytes()):
            with pytest.raises(DataError, match=r"bad\.png|image 1"):
                colour.predict([files[0], form])
        Image.new("L", (50, 50)).save(bad)
        bad.write_bytes(bad.read_bytes()[:60])
        with pytest.raises(DataError, match=r"bad\.png: is truncated"):
            colour.predict(Image.open(bad))


def zeros(*shape):
    return np.zeros(shape, np.uint8)


def pixels_with(value, rows=(8, 8, 1)):
    """Black images; one pixel of the last but one has a value."""
    X = np.zeros((4000, *rows))
    X[:, 0, 0] = 200
    X[-2, 3, 3, 0] = value
    return X


class TestRefusedImages:
    @pytest.mark.parametrize(
        ("X", "error", "words"),
        [
            (zeros(8, 8, 1), DataError, r"single image of shape \(8, 8, 1\).*X\[None\]"),
            (zeros(8, 8), DataError, r"single image of shape \(8, 8\)"),
            (zeros(0, 8, 8), DataError, "no pixels"),
            (zeros(2, 0, 8, 1), DataError, r"no pixels .*\(2, 0, 8, 1\)"),
            (zeros(2, 8, 8, 3), ModelError, r"8x8x3 .* 8x8x1"),
            (zeros(2, 9, 8), ModelError, r"9x8x1 .* 8x8x1"),
            (zeros(2, 64), DataError, r"\(2, 64\)"),
            (np.uint8(3), DataError, r"shape \(\)"),
            ([], DataError, r"shape \(0,\)"),
            ([[1], [2, 3]], DataError, "all of one shape"),
            (["a", "b"], DataError, "a: does not exist"),
            ([[["a"]]], DataError, "numbers"),
            (".", DataError, "folder"),
            ("", DataError, "exist"),
            (b"GIF89a", DataError, "image 0: is"),
            ([b"", b""], DataError, "image 0: is empty"),
            ([zeros(8, 8, 2)], DataError, r"image 0 of the list .* shape \(8, 8, 2\)"),
            ([zeros(1, 8, 8, 1)], DataError, r"shape \(1, 8, 8, 1\)"),
            ([zeros(8, 8), np.full((8, 8), 0.5)], DataError, "scaled already"),
            ([zeros(8, 8), np.full((8, 8), 300)], DataError, "image.? 1 .*300"),
            ([zeros(8, 8), None], DataError, "image 1 of the list .* NoneType"),
            (None, DataError, "dtype object"),
            (np.full((2, 8, 8), 256), DataError, r"0\.\.255, .* 256\.\.256"),
            (np.full((2, 8, 8), -1.0), DataError, r"-1\.\.-1"),
            (np.full((2, 8, 8), 1j), DataError, "complex"),
            (csr_array(np.zeros((2, 64))), DataError, "dense"),
            (pixels_with(np.nan), DataError, "image 3998 has NaN or infinite"),
            (pixels_with(-np.inf), DataError, "image 3998 has NaN or infinite"),
            (pixels_with(7.5), DataError, r"image 3998 .*np\.rint\(X\)"),
            (pixels_with(7.5) / 255, DataError, r"scaled already.*np\.rint\(X \* 255\)"),
            (pixels_with(200) / 200, DataError, r"0\.0 and 1\.0 only: .*X\.astype\(bool\)"),
        ],
    )
    def test_what_is_wrong_is_named(self, predictor, X, error, words):
        with pytest.raises(error, match=words):
            predictor.predict_proba(X)


class TestLoading:
    def test_a_bundle_and_its_files(self, bundle, images):
        X = images[:5]
        for source in (bundle.folder, str(bundle.folder), bundle, bundle.members["hybrid.onnx"]):
            own = Predictor.load(source)
            assert (own.kind, own.layer, own.mode) == ("hybrid", "fc1", "plain")
            np.testing.assert_allclose(own.predict_proba(X), expected(X), atol=1e-5)
        for own in (
            Predictor.load(bundle.folder, graph="cnn"),
            Predictor.load(bundle.folder / "cnn.onnx"),
        ):
            assert own.kind == "cnn"
            np.testing.assert_allclose(own.predict_proba(X), expected(X, seed=1), atol=1e-5)

    @pytest.mark.parametrize(
        ("damage", "options", "error", "words"),
        [
            # Whole and with a checksum of its own, but of another model.
            (
                lambda b: b.members["hybrid.onnx"].write_bytes(small_file(seed=2)),
                {},
                StoreError,
                r"hybrid\.onnx is not the file .* another model",
            ),
            (lambda b: b.members["cnn.keras"].unlink(), {}, StoreError, r"cnn\.keras is missing"),
            (
                lambda b: write_bundle(b.folder, MANIFEST, {"hybrid.onnx": small_file()}),
                {"graph": "cnn"},
                StoreError,
                r"without cnn\.onnx, only hybrid\.onnx",
            ),
            (lambda b: shutil.rmtree(b.folder), {}, StoreError, "no such file or folder"),
            (
                lambda b: b.folder.joinpath("manifest.json").unlink(),
                {},
                StoreError,
                r"manifest\.json is missing",
            ),
            (lambda b: None, {"graph": "trunk"}, ParameterError, r"'trunk'.*hybrid, cnn"),
            (lambda b: None, {"threads": 0}, ParameterError, "threads=0"),
            (lambda b: None, {"threads": 10**6}, ParameterError, "threads=1000000"),
        ],
    )
    def test_what_is_wrong_with_a_bundle_is_named(self, bundle, damage, options, error, words):
        damage(bundle)
        with pytest.raises(error, match=words):
            Predictor.load(bundle.folder, **options)

    def test_a_bundle_that_vanishes_after_it_was_read(self, bundle):
        shutil.rmtree(bundle.folder)
        with pytest.raises(StoreError, match="no such file or folder"):
            Predictor.load(bundle)

    def test_damage_is_found_before_anything_is_parsed(self, monkeypatch):
        monkeypatch.setattr("cnnboost.deploy.predictor.open_session", None)
        with pytest.raises(StoreError, match=r"^x\.onnx was altered"):
            Predictor(b"x" + small_file(), place="x.onnx")

    @pytest.mark.parametrize(
        ("changed", "error", "words"),
        [
            ({"format": 2}, StoreError, "format 2, this version reads 1"),
            ({"kind": "dragon"}, StoreError, "kind = 'dragon'"),
            ({"classes": ["a", "a", "b"]}, StoreError, "classes = "),
            ({"classes": [1, "b", None]}, StoreError, "classes = "),
            ({"classes": ["a", "b"]}, ModelError, r"states 2 classes, .*\[n, 3\]"),
            ({"classes": None}, StoreError, "classes = None"),
            ({"input": {"height": 8, "width": 8}}, StoreError, "input = "),
            ({"input": {"height": 8, "width": 8, "channels": 2}}, StoreError, "input = "),
            ({"input": {"height": "8", "width": 8, "channels": 1}}, StoreError, "input = "),
            ({"input": {"height": 9, "width": 8, "channels": 1}}, ModelError, r"9 x 8 grey.*\[n, 8, 8, 1\]"),
            ({"layer": 5}, StoreError, "layer = 5"),
        ],
    )
    def test_a_file_that_contradicts_itself(self, changed, error, words):
        content = serialise(small_graph(), metadata_of() | changed)
        with pytest.raises(error, match=words):
            Predictor(content, place="x.onnx")

    def test_a_graph_that_onnx_runtime_cannot_read(self):
        graph = small_graph()
        graph.graph.node[0].op_type = "Dragon"
        with pytest.raises(ModelError, match=r"x\.onnx: ONNX Runtime cannot read the graph: .*Dragon"):
            Predictor(serialise(graph, metadata_of()), place="x.onnx")

    @pytest.mark.parametrize("text", [b"MatMul", b"cnnboost", b"recipe", b"image", b"label", b"batch"])
    def test_a_graph_with_names_that_are_not_text(self, text):
        content = small_file()
        checksum = len(add_checksum(b""))
        broken = add_checksum(content[:-checksum].replace(text, b"\xff" + text[1:]))
        with pytest.raises((ModelError, StoreError), match=r"^x\.onnx"):
            Predictor(broken, place="x.onnx")

    @pytest.mark.parametrize("folder", ["", "/etc/", "../"])
    def test_weights_in_other_files_are_refused(self, tmp_path, monkeypatch, folder):
        monkeypatch.chdir(tmp_path)
        graph = small_graph()
        [weights] = graph.graph.initializer
        (tmp_path / "w.bin").write_bytes(weights.raw_data)
        onnx.external_data_helper.set_external_data(weights, f"{folder}w.bin")
        weights.ClearField("raw_data")
        with pytest.raises(ModelError, match=r"x\.onnx keeps weights in other files"):
            Predictor(serialise(graph, metadata_of()), place="x.onnx")

    def test_a_graph_that_cannot_run(self, images):
        graph = small_graph()
        graph.graph.node[1].op_type = "Reshape"
        graph.graph.node[1].input.append("to")
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 64 * 3]), "to"))
        graph.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((192, 3), np.float32), "w"))
        own = Predictor(serialise(graph, metadata_of()), place="x.onnx")
        for X in (images[:1], images[:1].astype(int)):
            with pytest.raises(ModelError, match=r"x\.onnx cannot be run"):
                own.predict_proba(X)

    def test_it_is_read_while_it_is_replaced(self, bundle):
        stop = threading.Event()

        def replace():
            seed = 0
            while not stop.is_set():
                seed += 1
                members = {"hybrid.onnx": small_file(seed=seed), "cnn.onnx": small_file(kind="cnn")}
                write_bundle(bundle.folder, MANIFEST, members)

        writer = threading.Thread(target=replace)
        writer.start()
        try:
            for _ in range(40):
                assert Predictor.load(bundle.folder, threads=1).kind == "hybrid"
        finally:
            stop.set()
            writer.join()


class TestSharing:
    def test_threads_get_what_a_serial_run_gets(self, predictor, images):
        parts = [images[i : i + n] for i, n in enumerate((1, 2, 64, 65, 700, 1, 3, 128) * 8)]
        results = [None] * len(parts)
        start = threading.Barrier(8)

        def work(first):
            start.wait()
            for i in range(first, len(parts), 8):
                results[i] = predictor.predict_proba(parts[i])

        workers = [threading.Thread(target=work, args=(first,)) for first in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for part, found in zip(parts, results, strict=True):
            np.testing.assert_allclose(found, expected(part), atol=1e-5)

    @pytest.mark.parametrize("renew", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
    def test_copies(self, predictor, images, renew):
        other = renew(predictor)
        assert (other.threads, other.place, other.details) == (2, predictor.place, predictor.details)
        np.testing.assert_array_equal(other.predict_proba(images[:9]), predictor.predict_proba(images[:9]))

    def test_other_processes(self, predictor, images):
        from joblib import Parallel, delayed

        found = Parallel(n_jobs=2)(delayed(predictor.predict)(images[i::2]) for i in range(2))
        for i in range(2):
            assert found[i].tolist() == predictor.predict(images[i::2]).tolist()

    def test_it_needs_onnx_runtime_alone(self, bundle):
        code = f"""
import sys
import numpy as np
from cnnboost.deploy.predictor import Predictor
Predictor.load({str(bundle.folder)!r}).predict(np.zeros((200, 8, 8), float))
heavy = {{"tensorflow", "keras", "jax", "torch", "xgboost", "sklearn", "scipy", "pandas", "matplotlib",
          "pydantic", "onnx", "joblib"}}
print(sorted(heavy & sys.modules.keys()), "onnxruntime" in sys.modules)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("[] True\n", "")
