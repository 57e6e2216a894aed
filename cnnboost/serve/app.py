"""The application: its routes, its documents, and what is answered where something goes wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any

import jinja2
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cnnboost import __version__
from cnnboost.errors import ModelError
from cnnboost.serve.answers import PROBLEMS, Answer, Health, Model
from cnnboost.serve.limits import Refused
from cnnboost.serve.metrics import CONTENT_TYPE, Counted
from cnnboost.serve.service import Service

_IMAGE = {"type": "string", "format": "binary", "description": "An image file."}
_BODY = {
    "required": True,
    "content": {
        "image/*": {"schema": _IMAGE},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"images": {"type": "array", "items": _IMAGE, "minItems": 1}},
                "required": ["images"],
            }
        },
    },
}
#: What a page may do: run and show what it carries itself, ask this server, use the camera; nothing else.
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; style-src {style}; script-src {script}"
)


def make_app(service: Service, about: dict[str, Any]) -> Any:
    """Make the ASGI application of a service."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncGenerator[None, None]:
        service.batches.start()
        try:
            yield
        finally:  # a second Ctrl-C cancels it
            service.close()

    app = FastAPI(
        title="cnnboost",
        version=__version__,
        description=f"{about['title']}: an image to a class and its probabilities.",
        lifespan=running,
        docs_url=None,
        redoc_url=None,
    )
    _add_handlers(app)
    _add_routes(app, service, about)
    _add_pages(app)
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    return Counted(app, service.metrics, paths)


def _add_routes(app: FastAPI, service: Service, about: dict[str, Any]) -> None:
    model = {
        **about,
        "faces": service.no_faces is None,
        "limits": asdict(service.limits),
    }

    @app.post(
        "/predict",
        summary="Predict the class of images",
        response_model=Answer,
        responses=PROBLEMS,
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(
        request: Request,
        faces: Annotated[
            bool, Query(description="Find faces, and predict each; otherwise an image is taken as a whole.")
        ] = False,
    ) -> Response:
        """Answer with a row for each image, in their order.

        The body is one image file, or a form with any number of files. Where some of them cannot be used,
        their rows say why; where none can, the status is 422.
        """
        rows, failed = await service.predict(request, faces)
        if failed == len(rows):
            return _json({"error": rows[0]["error"], "rows": rows}, 422)
        return _json({"classes": service.predictor.names, "rows": rows, "failed": failed})

    @app.get("/model", summary="Describe the model", response_model=Model)
    async def describe() -> Response:
        """Classes, input, scores, limits, and what the model card says the model is and is not for."""
        return _json(model)

    @app.get("/healthz", summary="Tell that the server is up", response_model=Health)
    async def health() -> Response:
        return _json({"status": "ok"})

    @app.get(
        "/metrics",
        summary="Counters and times",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _add_pages(app: FastAPI) -> None:
    source = files("cnnboost.serve")
    page = source.joinpath("page.html").read_text(encoding="utf-8")
    page_policy = _policy(page)
    docs = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        source.joinpath("docs.html.j2").read_text(encoding="utf-8")
    )

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return _html(page, page_policy)

    @app.get("/docs", include_in_schema=False)
    async def documents(request: Request) -> Response:
        text = docs.render(api=app.openapi(), here=str(request.base_url))
        return _html(text, _policy(text))


def _html(text: str, policy: str) -> Response:
    headers = {"Content-Security-Policy": policy, "Permissions-Policy": "camera=(self), microphone=()"}
    return Response(text, media_type="text/html", headers=headers)


def _policy(page: str) -> str:
    """Allow the scripts and styles that a page carries, by their digests, and no others."""
    allowed = {}
    for name in ("style", "script"):
        found = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
        allowed[name] = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return _POLICY.format(**allowed)


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return _json({"error": str(error)}, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        place = " ".join(str(part) for part in found["loc"])
        return _json({"error": f"{place}: {found['msg']}"}, 422)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        path, allowed = request.url.path[:200], (error.headers or {}).get("Allow")
        reasons = {
            404: f"there is nothing at {path}; /docs lists what there is",
            405: f"{path} does not accept {request.method[:20]}; it accepts {allowed}",
        }
        return _json(
            {"error": reasons.get(error.status_code, str(error.detail))}, error.status_code, error.headers
        )

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # for the metrics; nobody reads it

    @app.exception_handler(ModelError)
    async def failed(_: Request, error: ModelError) -> Response:
        return _json({"error": str(error)}, 500)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return _json({"error": "something went wrong in the server; its log says what"}, 500)


def _json(document: Any, status: int = 200, headers: Any = None) -> Response:
    # Not `JSONResponse`, which writes with `ensure_ascii=False`: a lone surrogate in a file name, which
    # `json.dumps` escapes here, could not be encoded as UTF-8.
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return Response(text, status, headers, media_type=JSONResponse.media_type)
