"""The predictor runs exported graphs on ONNX Runtime alone, from any thread, and refuses what is not one."""

from __future__ import annotations

import copy
import os
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

from cnnboost.deploy.bundle import read_bundle, write_bundle
from cnnboost.deploy.graph import cnn_graph
from cnnboost.deploy.graph_file import add_checksum, serialise
from cnnboost.deploy.image_files import find_images, predict_files
from cnnboost.deploy.predictor import Predictor, Slices
from cnnboost.errors import DataError, ModelError, ParameterError, StoreError

from .small_graph import CLASSES, MANIFEST, expected, facts_of, small_file, small_graph


@pytest.fixture(scope="module")
def predictor():
    return Predictor(small_file(), threads=2)


@pytest.fixture
def bundle(tmp_path):
    members = {"hybrid.onnx": small_file(), "cnn.onnx": small_file(seed=1, kind="cnn"), "cnn.keras": b"cnn"}
    return write_bundle(tmp_path / "toy", MANIFEST, members)


class TestPrediction:
    def test_it_gives_what_the_graph_means(self, predictor, images):
        found = predictor.predict_proba(images)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected(images), atol=1e-5)
        assert predictor.predict(images).tolist() == predictor.classes_[found.argmax(axis=1)].tolist()
        assert predictor.classes_.tolist() == CLASSES

    def test_it_gives_what_keras_gives(self, toy_cnn, toy_images):
        X = toy_images[0]
        graph = cnn_graph(toy_cnn.model_, pixels="raw", kind="softmax", shape=(8, 8, 1))
        digits = [str(i) for i in range(10)]
        own = Predictor(serialise(graph, facts_of(classes=digits, kind="cnn", layer="output")))
        np.testing.assert_allclose(own.predict_proba(X), toy_cnn.predict_proba(X), atol=1e-5)
        assert own.predict(X).tolist() == [str(label) for label in toy_cnn.predict(X)]

    @settings(max_examples=40)
    @given(n=st.integers(1, 5000))
    def test_every_batch_size_gives_the_same(self, predictor, images, n):
        np.testing.assert_allclose(predictor.predict_proba(images[:n]), expected(images[:n]), atol=1e-5)

    @pytest.mark.parametrize(
        "convert",
        [
            lambda X: X[..., 0],
            lambda X: X.astype(np.int64),
            lambda X: X.astype(">i4"),
            lambda X: X.astype(np.float64),
            lambda X: X.astype(np.float16),
            lambda X: np.asfortranarray(X),
            lambda X: np.repeat(X, 2, axis=0)[::2],
            lambda X: np.flip(np.flip(X, 2).copy(), 2),
            lambda X: X.tolist(),
            lambda X: list(X),
        ],
    )
    def test_the_same_pixels_in_another_form(self, predictor, images, convert):
        X = images[:70]
        np.testing.assert_allclose(predictor.predict_proba(convert(X)), expected(X), atol=1e-5)

    def test_bool_is_black_and_white(self, predictor, images):
        X = images[:9] > 127
        np.testing.assert_array_equal(
            predictor.predict_proba(X), predictor.predict_proba(X.astype(np.uint8) * np.uint8(255))
        )

    def test_memory_mapped_images(self, predictor, images, tmp_path):
        np.save(tmp_path / "x.npy", images)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        np.testing.assert_array_equal(predictor.predict_proba(mapped), predictor.predict_proba(images))

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

    def test_colour(self):
        own = Predictor(small_file((6, 4, 3)))
        X = np.random.default_rng(1).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
        np.testing.assert_allclose(own.predict_proba(X), expected(X), atol=1e-5)
        assert own.input == (6, 4, 3)
        with pytest.raises(ModelError, match=r"6x4x1 .* 6x4x3"):
            own.predict_proba(X[..., 0])


@pytest.fixture(scope="module")
def colour():
    return Predictor(small_file((6, 4, 3)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return pictures of many kinds: size, mode, depth, orientation, transparency."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    rgb = Image.fromarray(rng.integers(0, 256, (30, 17, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    rgb.save(folder / "a.png")
    rgb.save(folder / "b.jpg", exif=exif)
    rgb.quantize(8).save(folder / "c.gif")
    rgb.convert("L").save(folder / "d.png")
    rgb.resize((4, 6)).save(folder / "e.bmp")
    Image.fromarray(rng.integers(0, 256, (9, 9, 4), np.uint8), "RGBA").save(folder / "f.png")
    Image.fromarray(rng.integers(20000, 65536, (12, 7), np.uint16)).save(folder / "g.png")
    rgb.convert("CMYK").save(folder / "h.tif")
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
        np.testing.assert_array_equal(colour.predict_proba(tuple(map(form, files[:3]))), wanted[:3])
        for path, row in zip(files, wanted, strict=True):
            np.testing.assert_array_equal(colour.predict_proba(form(path)), row[None])
            assert colour.predict(form(path)).tolist() == [CLASSES[row.argmax()]]

    def test_arrays_of_any_size_are_resized_as_pictures_are(self, colour, files, wanted):
        plain = [path for path in files if path.name in ("a.png", "d.png", "e.bmp")]
        rows = [files.index(path) for path in plain]
        arrays = [np.asarray(Image.open(path)) for path in plain]
        np.testing.assert_array_equal(colour.predict_proba(arrays), wanted[rows])
        np.testing.assert_array_equal(colour.predict_proba([a.astype(float) for a in arrays]), wanted[rows])
        np.testing.assert_array_equal(colour.predict_proba([plain[0], arrays[1], arrays[2]]), wanted[rows])

    def test_a_bad_one_is_named(self, colour, files, tmp_path):
        bad = tmp_path / "bad.png"
        bad.write_bytes(files[0].read_bytes()[:60])
        for form in (bad, str(bad), bad.read_bytes()):
            with pytest.raises(DataError, match=r"bad\.png|image 1"):
                colour.predict([files[0], form])
        with pytest.raises(DataError, match=r"bad\.png: is truncated"):
            colour.predict(Image.open(bad))


class TestRefusedImages:
    @pytest.mark.parametrize(
        ("X", "error", "words"),
        [
            (np.zeros((8, 8, 1), np.uint8), DataError, r"single image of shape \(8, 8, 1\).*X\[None\]"),
            (np.zeros((8, 8), np.uint8), DataError, r"single image of shape \(8, 8\)"),
            (np.zeros((0, 8, 8, 1), np.uint8), DataError, r"no pixels .*\(0, 8, 8, 1\)"),
            (np.zeros((0, 8, 8), np.uint8), DataError, "no pixels"),
            (np.zeros((2, 0, 8, 1), np.uint8), DataError, r"no pixels .*\(2, 0, 8, 1\)"),
            (np.zeros((2, 8, 8, 3), np.uint8), ModelError, r"8x8x3 .* 8x8x1"),
            (np.zeros((2, 9, 8, 1), np.uint8), ModelError, r"9x8x1 .* 8x8x1"),
            (np.zeros((2, 9, 8), np.uint8), ModelError, r"9x8x1 .* 8x8x1"),
            (np.zeros((2, 64), np.uint8), DataError, r"\(2, 64\)"),
            (np.uint8(3), DataError, r"shape \(\)"),
            ([], DataError, r"shape \(0,\)"),
            ([[1], [2, 3]], DataError, "all of one shape"),
            (["a", "b"], DataError, "a: does not exist"),
            ([[["a"]]], DataError, "numbers"),
            (".", DataError, "folder"),
            ("", DataError, "exist"),
            (b"GIF89a", DataError, "image 0: is"),
            ([b"", b""], DataError, "image 0: is empty"),
            ([np.zeros((8, 8, 2), np.uint8)], DataError, r"image 0 of the list .* shape \(8, 8, 2\)"),
            ([np.zeros((1, 8, 8, 1), np.uint8)], DataError, r"shape \(1, 8, 8, 1\)"),
            ([np.zeros((8, 8)), np.full((8, 8), 0.5)], DataError, "scaled already"),
            ([np.zeros((8, 8)), np.full((8, 8), 300)], DataError, "image.? 1 .*300"),
            ([np.zeros((8, 8), np.uint8), None], DataError, "image 1 of the list .* NoneType"),
            (None, DataError, "dtype object"),
            (np.full((2, 8, 8), 256), DataError, r"0\.\.255, .* 256\.\.256"),
            (np.full((2, 8, 8), -1.0), DataError, r"-1\.\.-1"),
            (np.full((2, 8, 8), 1j), DataError, "complex"),
        ],
    )
    def test_no_images_or_others(self, predictor, X, error, words):
        with pytest.raises(error, match=words):
            predictor.predict_proba(X)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_named_by_image(self, predictor, images, value):
        X = images.astype(np.float32)
        X[4321, 3, 3, 0] = value
        with pytest.raises(DataError, match="image 4321 has NaN or infinite"):
            predictor.predict_proba(X)

    def test_fractions(self, predictor, images):
        with pytest.raises(DataError, match=r"scaled already.*np\.rint\(X \* 255\)"):
            predictor.predict_proba(images / 255.0)
        X = images.astype(np.float64)
        X[4321] += 0.5 * (X[4321] < 255)
        with pytest.raises(DataError, match=r"image 4321 .*np\.rint\(X\)"):
            predictor.predict_proba(X)

    def test_zeros_and_ones(self, predictor, images):
        with pytest.raises(DataError, match=r"0\.0 and 1\.0 only: .*X\.astype\(bool\)"):
            predictor.predict_proba((images[:9] > 100).astype(np.float32))
        black_and_white = predictor.predict_proba(images[:9] > 100)
        np.testing.assert_array_equal(black_and_white, predictor.predict_proba((images[:9] > 100) * 255))

    def test_a_sparse_matrix(self, predictor):
        from scipy.sparse import csr_array

        with pytest.raises(DataError, match="dense"):
            predictor.predict_proba(csr_array(np.zeros((2, 64))))


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
        assert own.details["recipe"] == "toy"

    def test_a_member_is_verified_before_it_is_read(self, bundle):
        path = bundle.members["hybrid.onnx"]
        path.write_bytes(small_file(seed=2))  # whole and sealed, but of another model
        with pytest.raises(StoreError, match=r"hybrid\.onnx is not the file .* another model"):
            Predictor.load(bundle.folder)

    def test_any_member_counts(self, bundle):
        bundle.members["cnn.keras"].unlink()
        with pytest.raises(StoreError, match=r"cnn\.keras is missing"):
            Predictor.load(bundle.folder)

    def test_a_bundle_without_this_graph(self, bundle, tmp_path):
        hybrid = {"hybrid.onnx": small_file()}
        write_bundle(tmp_path / "alone", MANIFEST, hybrid)
        with pytest.raises(StoreError, match=r"without cnn\.onnx, only hybrid\.onnx"):
            Predictor.load(tmp_path / "alone", graph="cnn")

    def test_a_bundle_that_vanishes_meanwhile(self, bundle):
        shutil.rmtree(bundle.folder)
        with pytest.raises(StoreError, match="no such file or folder"):
            Predictor.load(bundle)

    def test_no_bundle_and_no_file(self, tmp_path):
        with pytest.raises(StoreError, match=r"manifest\.json is missing"):
            Predictor.load(tmp_path)
        with pytest.raises(StoreError, match="no such file or folder"):
            Predictor.load(tmp_path / "none.onnx")

    @given(st.data())
    def test_no_damage_goes_unseen(self, data):
        content = small_file()
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content = content[:place]
        else:
            content = bytearray(content)
            content[place] ^= data.draw(st.integers(1, 255))
        with pytest.raises(StoreError, match=r"^x\.onnx "):
            Predictor(bytes(content), place="x.onnx")

    def test_a_file_of_someone_else(self, tmp_path):
        onnx.save(small_graph(), tmp_path / "foreign.onnx")
        with pytest.raises(StoreError, match=r"foreign\.onnx .* was not made by"):
            Predictor.load(tmp_path / "foreign.onnx")

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
        content = serialise(small_graph(), facts_of() | changed)
        with pytest.raises(error, match=words):
            Predictor(content, place="x.onnx")

    def test_a_graph_that_onnx_runtime_cannot_read(self):
        graph = small_graph()
        graph.graph.node[0].op_type = "Dragon"
        with pytest.raises(ModelError, match=r"x\.onnx: ONNX Runtime cannot read the graph: .*Dragon"):
            Predictor(serialise(graph, facts_of()), place="x.onnx")

    @pytest.mark.parametrize("text", [b"MatMul", b"cnnboost", b"recipe", b"image", b"label", b"batch"])
    def test_a_graph_with_names_that_are_not_text(self, text):
        content = small_file()
        sealed = len(add_checksum(b""))
        broken = add_checksum(content[:-sealed].replace(text, b"\xff" + text[1:]))
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
            Predictor(serialise(graph, facts_of()), place="x.onnx")

    def test_a_graph_that_cannot_run(self, images):
        graph = small_graph()
        graph.graph.node[1].op_type = "Reshape"
        graph.graph.node[1].input.append("to")
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 64 * 3]), "to"))
        graph.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((192, 3), np.float32), "w"))
        own = Predictor(serialise(graph, facts_of()), place="x.onnx")
        for X in (images[:1], images[:1].astype(int)):
            with pytest.raises(ModelError, match=r"x\.onnx cannot be run"):
                own.predict_proba(X)

    @pytest.mark.parametrize("threads", [0, -1, 10**6])
    def test_impossible_threads(self, threads, bundle):
        with pytest.raises(ParameterError, match=f"threads={threads}"):
            Predictor.load(bundle.folder, threads=threads)

    def test_an_unknown_graph(self, bundle):
        with pytest.raises(ParameterError, match=r"'trunk'.*hybrid, cnn"):
            Predictor.load(bundle.folder, graph="trunk")

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
        assert read_bundle(bundle.folder).manifest["recipe"] == "toy"


class TestSharing:
    def test_threads_get_what_a_serial_run_gets(self, predictor, images):
        parts = [images[i : i + n] for i, n in enumerate((1, 2, 64, 65, 700, 1, 3, 128) * 8)]
        serial = [predictor.predict_proba(part) for part in parts]
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
        for own, found in zip(serial, results, strict=True):
            np.testing.assert_allclose(found, own, atol=1e-6)

    @pytest.mark.parametrize("renew", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
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
from cnnboost.deploy.predictor import Predictor, Slices
from cnnboost.deploy.graph_file import add_checksum
Predictor.load({str(bundle.folder)!r}).predict(np.zeros((200, 8, 8), float))
heavy = {{"tensorflow", "keras", "jax", "torch", "xgboost", "sklearn", "scipy", "pandas", "matplotlib",
          "pydantic", "onnx", "joblib"}}
print(sorted(heavy & sys.modules.keys()), "onnxruntime" in sys.modules)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "[] True\n"
        assert done.stderr == ""


def test_it_says_what_it_is(predictor):
    assert repr(predictor) == "<Predictor the model: 8 x 8 grey, hybrid, 3 classes>"


def means(X, first):
    return X.reshape(len(X), -1).mean(axis=1, keepdims=True).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 700), threads=st.integers(1, 5), side=st.sampled_from([8, 48, 200]))
def test_every_image_is_computed_once_and_in_its_place(n, threads, side):
    X = np.arange(n, dtype=np.int64).reshape(n, 1, 1, 1)
    seen, lock = [], threading.Lock()

    def run(part, first):
        assert part[0, 0, 0, 0] == first
        with lock:
            seen.append(len(part))
        return means(part, first)

    slices = Slices(lambda: run, threads, side * side)
    result = np.full((n, 1), -1, np.float32)
    slices(X, result)
    np.testing.assert_array_equal(result[:, 0], np.arange(n))
    assert max(seen) <= slices.most
    assert max(seen) - min(seen) <= 1  # the threads end at about the same time
    assert len(seen) % threads == 0 or len(seen) == n


def test_the_graph_is_opened_once_and_not_before_it_is_needed():
    opened = []

    def open_run():
        opened.append(1)
        return means

    slices = Slices(open_run, 2, 48 * 48)
    assert not opened
    for _ in range(3):
        slices(np.zeros((100, 2, 2, 1)), np.empty((100, 1), np.float32))
    assert opened == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_error_of_the_first_bad_image_comes_out(threads):
    def run(part, first):
        if first >= 40:
            raise ValueError(f"image {first}")
        return means(part, first)

    slices = Slices(lambda: run, threads, 48 * 48)
    with pytest.raises(ValueError, match="image 4"):
        slices(np.zeros((200, 2, 2, 1)), np.empty((200, 1), np.float32))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_threads_of_its_own():
    slices = Slices(lambda: means, 2, 48 * 48)
    X = np.arange(100.0).reshape(100, 1, 1, 1)
    slices(X, np.empty((100, 1), np.float32))
    child = os.fork()
    if child == 0:
        result = np.empty((100, 1), np.float32)
        slices(X, result)
        os._exit(0 if (result[:, 0] == np.arange(100)).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
