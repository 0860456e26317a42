"""Who may talk to the server: pages of its own address that know its token, and nobody else in the same browser.

A server on loopback is reached by every page that a browser on this machine shows. So the name under which it is asked
must be its own (a page of another name that resolves to loopback is turned away), what another page sends is turned
away, and whatever says or does something asks for a token that no page can know which was not given the link.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

PROTECTED = "/api/"
"""Where the token is asked for; the rest is the page's own files, the same in every installation."""


def loopback_names(port: int) -> frozenset[str]:
    """Names under which a server on this machine's loopback is asked, as `Host` gives them."""
    return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))


class Guard:
    """Lets through what comes from the server's own page.

    Args:
        app: What is guarded.
        token: The token.
        names: Names that the server goes by.
    """

    def __init__(self, app: ASGIApp, token: str, names: Iterable[str]) -> None:
        self._app = app
        self._token = token.encode()
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or turn away."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))

        async def armoured(message: Message) -> None:
            if message["type"] == "http.response.start":
                _arm(message)
            await send(message)

        await (refusal or self._app)(scope, receive, armoured)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self._names:
            return refused(421, "this server answers to its own address alone", "open the link that it printed")
        if not path.startswith(PROTECTED):
            return None
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{name}" for name in self._names}:
            return refused(403, "another page may not ask this server", "open the link that it printed")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return refused(403, "another page may not ask this server", "open the link that it printed")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._token):
            return refused(401, "the token is missing or is another server's", "open the link that the server printed")
        return None


def refused(status: int, message: str, hint: str = "") -> JSONResponse:
    """An error as the page reads it."""
    return JSONResponse({"message": message, "hint": hint}, status)


def _arm(message: MutableMapping[str, Any]) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers[name] = value
