"""The server process: its socket, its signals, and the limits of a request's headers."""

from __future__ import annotations

import ipaddress
import logging
import math
import signal
import socket
from collections.abc import Callable
from typing import Any

from cnnboost.errors import ServerError, Stopped
from cnnboost.files import reason_of
from cnnboost.serve.limits import Limits
from cnnboost.stopping import heeded_signals

_BACKLOG = 1024
_REFUSAL = (
    b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
)
#: Bytes of headers after which no more are waited for; what ends within one read (up to 256 KiB) passes.
_HEADERS = 1 << 16
_KEEP_ALIVE = 15


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of a server; port 0 is any that is free."""
    where = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise ServerError(
            f"the server cannot listen on {where}: {reason_of(error)}; choose another --port (0 is any that "
            "is free) or --host"
        ) from error


def address_of(opened: socket.socket) -> str:
    """Return the address at which a browser finds the server."""
    host, port = opened.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_open(host: str) -> bool:
    """Tell whether other machines may reach an address.

    >>> is_open("127.0.0.1"), is_open("::1"), is_open("0.0.0.0")
    (False, False, True)
    """
    return not ipaddress.ip_address(host).is_loopback


def run(app: Any, opened: socket.socket, limits: Limits, ready: Callable[[], None]) -> None:
    """Serve an application until a signal ends it; what was accepted is answered first.

    Raises
    ------
    ServerError
        If the application does not start.
    Stopped
        If a second signal ended it before all was answered.
    """
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    config = uvicorn.Config(
        app,
        http=_limited(HttpToolsProtocol, limits.seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(limits.seconds) + 30,
    )
    server = uvicorn.Server(config)
    # A second signal ends whatever is in progress, and is not an error.
    _log_errors(lambda record: not server.force_exit)

    # Until uvicorn has its own handlers. When it has ended, it raises the signal once more: its `handle_exit`
    # would take that for a second Ctrl-C.
    def stop(number: int, frame: Any) -> None:
        server.should_exit = True

    for number in heeded_signals():
        signal.signal(number, stop)
    ready()
    server.run([opened])
    if not server.started:
        raise ServerError("the server did not start; the lines above say why")
    if server.force_exit:
        raise Stopped(signal.SIGINT)


def _log_errors(wanted: Callable[[logging.LogRecord], bool]) -> None:
    """Show what goes wrong inside, with its traceback, on stderr."""
    handler = logging.StreamHandler()
    handler.addFilter(wanted)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("uvicorn")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.WARNING)


def _limited(protocol: Any, seconds: float) -> Any:
    """Give uvicorn's protocol on httptools limits for time and bytes of headers; it has none of its own."""
    late = b'{"error":"the request did not arrive within %g seconds, the limit"}' % seconds
    long = b'{"error":"the headers are longer than %d bytes, the limit"}' % _HEADERS

    class Limited(protocol):
        """The protocol; a connection whose headers are late or too long is closed."""

        _timer: Any = None
        _held = 0  # bytes since the last body or request: headers, or what follows a body

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, self._late)

        def data_received(self, data: bytes) -> None:
            self._held += len(data)
            super().data_received(data)
            if self._held > _HEADERS and not self.transport.is_closing():
                self._refuse(b"431 Request Header Fields Too Large", long)
            elif self._is_asked():
                self._stop_timer()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self._late)

        def on_body(self, body: bytes) -> None:
            self._held = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._held = 0
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self._refuse(b"408 Request Timeout", late)

        def _is_asked(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _refuse(self, status: bytes, text: bytes) -> None:
            if not self._is_asked():  # otherwise the refusal would be taken for the answer under way
                self.transport.write(_REFUSAL % (status, len(text), text))
            self.transport.close()

    return Limited
