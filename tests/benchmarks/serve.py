"""The server, its page and the standalone folder against their goals, in one run.

Not a test: `make bench-serve` runs it and prints ratios beside the goals. Requests and a bare loop of the
Predictor take turns, so that drift of the machine hits both. The client is a process of its own on the same
cores; it compares every answer with the one that is known for its image.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tests.benchmarks.line import Table

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
CONNECTIONS = 64
IMAGES = 512
TOLERANCE = (
    0.01  # a batch may round otherwise, and a feature that lies on a threshold may fall to its other side
)


def face_crops(data: Path | None) -> list[bytes]:
    """Give files of different 48x48 crops: of FER-2013 where it is here, else noise."""
    if data is not None and data.is_file():
        with zipfile.ZipFile(data) as archive:
            names = [
                name
                for name in archive.namelist()
                if "PublicTest" in name and name.endswith((".jpg", ".png"))
            ]
            return list(dict.fromkeys(archive.read(name) for name in names[: 2 * IMAGES]))[:IMAGES]
    from PIL import Image

    rng, files = np.random.default_rng(0), []
    for _ in range(IMAGES):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", "cnnboost", "serve", "--port", "0", "--json", "--quiet", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the server did not start")
            text += line
        yield json.loads(text)["address"]
    finally:
        process.terminate()
        if process.wait(60) != 0:
            raise SystemExit(f"the server ended with status {process.returncode}")


class Client:
    """Connections that ask for one image after the other, and compare each answer."""

    def __init__(self, address: str, files: list[bytes], known: np.ndarray, classes: list[str]) -> None:
        self.place = urlsplit(address).hostname, urlsplit(address).port
        self.files, self.known, self.classes = files, known, classes
        self.left = 0
        self.times: list[float] = []
        self.wrong: list[str] = []
        self.jumps = 0

    async def connection(self, number: int) -> None:
        reader, writer = await asyncio.open_connection(*self.place)
        i = number * 7919
        while self.left > 0:
            self.left -= 1
            i = (i + 1) % len(self.files)
            body = self.files[i]
            started = time.perf_counter()
            writer.write(HEAD % len(body) + body)
            lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).lower().split(b"\r\n")
            (length,) = (int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
            answer = json.loads(await asyncio.wait_for(reader.readexactly(length), 60))
            self.times.append(time.perf_counter() - started)
            if b" 200 " not in lines[0]:
                self.wrong.append(f"{lines[0]!r} {answer}")
                continue
            row = np.array([answer["rows"][0]["probabilities"][name] for name in self.classes])
            off = np.abs(row - self.known[i]).max()
            self.jumps += 1e-4 < off <= TOLERANCE
            if off > TOLERANCE:
                self.wrong.append(f"image {i} is off by {off:.3f}")
        writer.close()

    async def run(self, requests: int) -> dict[str, Any]:
        self.left, asked = requests, requests
        started = time.perf_counter()
        done = await asyncio.gather(*(self.connection(i) for i in range(CONNECTIONS)), return_exceptions=True)
        seconds = time.perf_counter() - started
        self.wrong += [repr(one) for one in done if isinstance(one, BaseException)]
        return {
            "asked": asked,
            "answered": len(self.times),
            "wrong": len(self.wrong),
            "examples": self.wrong[:5],
            "jumps": int(self.jumps),
            "seconds": seconds,
            "p50_ms": 1000 * float(np.percentile(self.times, 50)),
            "p99_ms": 1000 * float(np.percentile(self.times, 99)),
            "most_ms": 1000 * max(self.times),
        }


def client(address: str, folder: Path, requests: int) -> dict[str, Any]:
    """Run the client in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.serve",
        "--client",
        address,
        str(folder),
        str(requests),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def as_client(address: str, folder: Path, requests: int) -> None:
    with np.load(folder / "known.npz") as known:
        rows, classes = known["rows"], known["classes"].tolist()
    files = [(folder / f"{i}.image").read_bytes() for i in range(len(rows))]
    print(json.dumps(asyncio.run(Client(address, files, rows, classes).run(requests))))


def bench_load(
    table: Table, files: list[bytes], requests: int, rounds: int, folder: Path, bundle: list[str]
) -> None:
    from cnnboost import Predictor

    predictor = Predictor.load(*bundle)
    X = np.concatenate([_pixels(predictor, content) for content in files])
    known = np.concatenate([predictor.predict_proba(X[i : i + 1]) for i in range(len(X))])
    apart = np.abs(known[:, None] - known[None]).max(axis=2) + np.eye(len(known))
    keep = apart.min(axis=1) > 2 * TOLERANCE  # only answers that tell their images apart
    X, known = X[keep], known[keep]
    files = [content for content, kept in zip(files, keep, strict=True) if kept]
    np.savez(folder / "known.npz", rows=known, classes=predictor.classes_)
    for i, content in enumerate(files):
        (folder / f"{i}.image").write_bytes(content)
    ours, arrays, contents = [], [], []
    with server(*bundle) as address:
        client(address, folder, 2000)
        for _ in range(rounds):
            arrays.append(_loop(lambda i: predictor.predict_proba(X[i : i + 1]), len(X)))
            contents.append(_loop(lambda i: predictor.predict_proba(files[i]), len(X)))
            ours.append(client(address, folder, requests // rounds))
    rate = statistics.median(one["answered"] / one["seconds"] for one in ours)
    bare, whole = statistics.median(arrays), statistics.median(contents)
    table.add(
        f"server, {CONNECTIONS} connections: requests a second / bare Predictor loop over arrays",
        rate / bare, ">= 0.5", rate / bare >= 0.5,
        server=f"{rate:,.0f}/s", arrays=f"{bare:,.0f}/s", files=f"{whole:,.0f}/s", images=len(files),
    )  # fmt: skip
    p50, p99 = (statistics.median(one[name] for one in ours) for name in ("p50_ms", "p99_ms"))
    table.add(
        "server: p99 / p50", p99 / p50, "<= 10", p99 <= 10 * p50,
        p50=f"{p50:.1f} ms", p99=f"{p99:.1f} ms", longest=f"{max(one['most_ms'] for one in ours):.0f} ms",
    )  # fmt: skip
    asked, answered, wrong, jumps = (
        sum(one[n] for one in ours) for n in ("asked", "answered", "wrong", "jumps")
    )
    bad = asked - answered + wrong
    print(*[text for one in ours for text in one["examples"]], sep="\n")
    table.add(
        "server: lost or mixed-up answers", bad, "0 of 100,000", bad == 0 and asked >= 100_000,
        requests=f"{asked:,}", rounded_otherwise=jumps,
    )  # fmt: skip


def _pixels(predictor: Any, content: bytes) -> np.ndarray:
    from cnnboost.images.decode import decode_image

    return decode_image(content, predictor.input, "crop")[None]


def _loop(call: Any, n: int, seconds: float = 3.0) -> float:
    """Calls a second."""
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        call(done % n)
        done += 1
    return done / (time.perf_counter() - started)


def bench_page(table: Table, folder: Path, seconds: float) -> None:
    from playwright.sync_api import sync_playwright

    from tests.browser import BROWSER, FLAGS
    from tests.serve.test_page import wait_for_pictures

    if BROWSER is None:
        print("no Chromium here: the page is left out")
        return
    film, what = _film(folder)
    flags = [*FLAGS.split(), *([f"--use-file-for-fake-video-capture={film}"] if film else [])]
    with server() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=flags)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(address)
        page.get_by_role("button", name="Turn the camera on").click()
        wait_for_pictures(page)
        count = "Number(document.getElementById('live').dataset.drawn)"
        before, started = page.evaluate(count), time.perf_counter()
        page.wait_for_timeout(1000 * seconds)
        rate = (page.evaluate(count) - before) / (time.perf_counter() - started)
        boxes, faces = page.locator("#live .box").count(), page.locator("#faces").is_checked()
        page.screenshot(path=folder / "camera.png")
        browser.close()
    table.add(
        "page: pictures from camera to drawn box, a second", rate, ">= 10", rate >= 10 and boxes > 0,
        camera=what, looks_for_faces=faces, boxes=boxes,
    )  # fmt: skip


def _film(folder: Path) -> tuple[Path | None, str]:
    """Make a film for the fake camera from a photograph that a package carries; else it is a test pattern."""
    try:
        from skimage import data
    except ImportError:
        return None, "test pattern"
    from PIL import Image

    face = Image.fromarray(data.astronaut()).resize((480, 480))
    with (folder / "film.mjpeg").open("wb") as film:
        for i in range(60):
            frame = Image.new("RGB", (640, 480))
            frame.paste(face, (80 + i % 30, 0))
            frame.save(film, "JPEG", quality=90)
    return folder / "film.mjpeg", "a photograph of a face"


def bench_standalone(table: Table, files: list[bytes], runs: int, folder: Path) -> None:
    from cnnboost.deploy.bundle import shipped_bundle
    from cnnboost.deploy.standalone import write_standalone

    write_standalone(shipped_bundle(), folder / "alone")
    (folder / "face.png").write_bytes(files[0])
    commands = (
        [sys.executable, "-c", "pass"],
        [sys.executable, str(folder / "alone" / "predict.py"), str(folder / "face.png")],
    )
    times: list[list[float]] = [[], []]
    for _ in range(runs):
        for command, found in zip(commands, times, strict=True):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            found.append(time.perf_counter() - started)
    bare, ours = map(statistics.median, times)
    megabytes = sum(path.stat().st_size for path in (folder / "alone").iterdir()) / 1e6
    table.add(
        "standalone folder: seconds to the answer, beyond starting Python",
        ours - bare, "<= 0.5", ours - bare <= 0.5,
        ours=f"{ours:.2f} s", python=f"{bare:.2f} s", folder=f"{megabytes:.1f} MB",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the FER-2013 archive; without it the crops are noise")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bundle", nargs="*", default=[], help="in place of the one that ships")
    parser.add_argument("--runs", type=int, default=9, help="of each program start")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        as_client(given.client[0], Path(given.client[1]), int(given.client[2]))
        return
    table, folder = Table(), Path(tempfile.mkdtemp())
    try:
        files = face_crops(given.data)
        bench_standalone(table, files, given.runs, folder)
        bench_page(table, folder, 10)
        bench_load(table, files, given.requests, given.rounds, folder, given.bundle)
    finally:
        shutil.rmtree(folder)
    if given.json:
        from cnnboost.files import write_json
        from cnnboost.stages.provenance import machine, versions

        write_json(given.json, {"rows": table.rows, "machine": machine(), "versions": versions()})
    missed = [row["what"] for row in table.rows if not row["met"]]
    print(f"\n{len(table.rows) - len(missed)} of {len(table.rows)} goals met", *missed, sep="\n  not met: ")


if __name__ == "__main__":
    main()
