"""The server process: its socket, its signals, and the time that a client has for its headers."""

from __future__ import annotations

import ipaddress
import logging
import math
import signal
import socket
from collections.abc import Callable
from typing import Any

from cnnboost.errors import ServerError, Stopped
from cnnboost.serve.limits import Limits

_BACKLOG = 1024
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
_KEEP_ALIVE = 15


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of a server; port 0 is any that is free."""
    where = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ServerError(
            f"the server cannot listen on {where}: {reason}; choose another --port (0 is any that is free) "
            "or --host"
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
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    config = uvicorn.Config(
        app,
        http=_timed(AutoHTTPProtocol, limits.seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(limits.seconds) + 30,
    )
    _log_errors()
    server = uvicorn.Server(config)
    # When it has ended, uvicorn raises the signal once more; then there is nothing left to stop.
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), lambda number, frame: None)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)
    ready()
    server.run([opened])
    if not server.started:
        raise ServerError("the server did not start; the lines above say why")
    if server.force_exit:
        raise Stopped(signal.SIGINT)


def _log_errors() -> None:
    """Show what goes wrong inside, with its traceback, on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("uvicorn")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.WARNING)


def _timed(protocol: Any, seconds: float) -> Any:
    """Give a protocol of uvicorn a limit for the time that headers take: it has none of its own."""
    text = b'{"error":"the request did not arrive within %g seconds, the limit"}' % seconds

    class Timed(protocol):
        """The protocol; a connection on which no request is complete in time is closed."""

        _timer: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, self._late)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_timer()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self._late)

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
                self.transport.write(_LATE % (len(text), text))
                self.transport.close()

    return Timed
