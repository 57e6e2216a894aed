"""`cnnboost serve`: a bundle as a service on HTTP, with a page for pictures and cameras."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from cnnboost.cli import console
from cnnboost.cli.app import app
from cnnboost.cli.options import GraphOption, QuietOption, ThreadsOption
from cnnboost.cli.predict import load_predictor
from cnnboost.errors import ParameterError, ServerError
from cnnboost.escape import counted
from cnnboost.serve.limits import Limits

log = logging.getLogger("cnnboost")


@app.command()
@console.guarded
def serve(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE",
            help="A bundle or one of its .onnx files; fer2013_fast ships too.",
            show_default="the one that ships",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 opens it to other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 is any that is free.")
    ] = 8000,
    graph: GraphOption = None,
    threads: ThreadsOption = None,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Images that may wait; past it, the answer is 503.")
    ] = Limits.queue,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", min=1024, help="Bytes of one request.")
    ] = Limits.bytes,
    max_images: Annotated[
        int, typer.Option("--max-images", min=1, help="Images of one request.")
    ] = Limits.images,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Pixels of one image.")
    ] = Limits.pixels,
    seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, max=3600, help="Seconds for a client to send a request.")
    ] = Limits.seconds,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout when it listens: its address.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Serve predictions over HTTP, and a page that takes pictures, folders and the camera.

    POST /predict takes one image or many; /docs says how. Nothing that a client sends is written to a disk.
    Ctrl-C or SIGTERM ends it when what was accepted is answered.
    """
    if max_images > queue:
        raise ParameterError(
            f"--max-images {max_images} is more than --queue {queue}: a request of so many images would "
            "never be accepted"
        )
    console.notes(quiet)
    try:
        import fastapi  # noqa: F401 - whether they are there
        import httptools  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ServerError(f"the server needs {error.name}: pip install 'cnnboost[serve]'") from error
    from cnnboost.deploy.bundle import describe, located, read_bundle, shipped_bundle
    from cnnboost.images.decode import MAX_PIXELS
    from cnnboost.serve.about import about
    from cnnboost.serve.app import make_app
    from cnnboost.serve.server import address_of, is_open, listen, run
    from cnnboost.serve.service import Service

    if max_pixels > MAX_PIXELS:
        raise ParameterError(
            f"--max-pixels {max_pixels}: images of more than {MAX_PIXELS} pixels are never decoded; give at "
            "most that many"
        )
    bundle = bundle and located(bundle)
    source = shipped_bundle() if bundle is None else read_bundle(bundle) if bundle.is_dir() else bundle
    read = None if isinstance(source, Path) else source
    predictor = load_predictor(source, graph, threads=1)
    limits = Limits(bytes=max_bytes, images=max_images, pixels=max_pixels, seconds=seconds, queue=queue)
    service = Service(predictor, limits, threads)
    with listen(host, port) as opened:
        address = address_of(opened)

        def ready() -> None:
            log.info("%s", describe(read, predictor.graph) if read else predictor.place)
            log.info("listening on %s; Ctrl-C ends it", address)
            if is_open(opened.getsockname()[0]):
                log.warning(
                    "anyone who can reach this machine can use the server: it has neither passwords nor "
                    "encryption"
                )
            if as_json:
                console.emit_json({"address": address, "model": predictor.place})
                sys.stdout.flush()

        try:
            run(make_app(service, about(predictor, read)), opened, limits, ready)
        finally:
            if service.given_up:
                one, many = "request in progress was", "requests in progress were"
                log.warning("%s not answered", counted(service.given_up, one, many))
    if not service.given_up:
        log.info("stopped; every request in progress was answered")
