"""Serving on this machine alone: a socket on loopback, a fresh token, and a link that holds both."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable

from controlwindow.errors import UsageError
from controlwindow.live.studio import Studio

HOST = "127.0.0.1"
_PATIENCE = 1
"""Seconds that open connections are given when the server is stopped."""


def serve(studio: Studio, *, port: int = 0, ready: Callable[[str], None]) -> None:
    """Serve a studio until interrupted.

    Args:
        studio: What is served.
        port: The port; 0 takes a free one.
        ready: Told the link when the server listens.

    Raises:
        UsageError: starlette and uvicorn are not installed, or the port is taken.
    """
    require_server()
    import uvicorn

    from controlwindow.live.guard import loopback_names
    from controlwindow.live.server import live_app

    token = secrets.token_urlsafe(24)
    with listening_socket(port) as listening:
        found = listening.getsockname()[1]

        class Announcing(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready(link(found, token))

        config = uvicorn.Config(
            live_app(studio, token, loopback_names(found)),
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_PATIENCE,
        )
        # Ctrl-C is how it is stopped; uvicorn passes it on when everything is closed.
        with contextlib.suppress(KeyboardInterrupt):
            Announcing(config).run(sockets=[listening])


def link(port: int, token: str) -> str:
    """The address with the token behind the #, which browsers send to nobody."""
    return f"http://{HOST}:{port}/#token={token}"


def require_server() -> None:
    """Make sure that what the page is served with is there.

    Raises:
        UsageError: It is not.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the live page needs {error.name}, which is not installed", "pip install 'controlwindow[live]'"
        ) from error


def listening_socket(port: int) -> socket.socket:
    """A socket on this machine's loopback; 0 takes a free port.

    Raises:
        UsageError: The port cannot be had.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"port {port} of {HOST} cannot be had: {error.strerror}", "give another --port, or leave it out"
        ) from error
    return listening
