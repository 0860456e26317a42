"""The server: three files, three questions. Generations are told as server-sent events, one at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from logging import getLogger
from threading import Event
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from controlwindow.errors import ControlWindowError
from controlwindow.live.guard import Guard, refused
from controlwindow.live.line import Full, Line, Place
from controlwindow.live.requests import Ask, read_ask
from controlwindow.live.studio import Studio

_log = getLogger(__name__)

_LARGEST = 1 << 18
"""Most bytes of a request."""

FILES = {
    "/": ("live.html", "text/html"),
    "/live.js": ("live.js", "text/javascript"),
    "/live.css": ("live.css", "text/css"),
}

_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),
]


def static_file(name: str) -> str:
    """One of the page's files."""
    return resources.files("controlwindow.live").joinpath("static", name).read_text("utf-8")


def live_app(studio: Studio, token: str, names: Iterable[str], line: Line | None = None) -> ASGIApp:
    """The application.

    Args:
        studio: What is shown and asked.
        token: What a request must know.
        names: Names that the server goes by, with the port, as `Host` gives them.
        line: Where generations wait; a new one by default.
    """
    waiting = Line() if line is None else line
    # The model has one worker: two generations at once would be twice as slow each, and share its hooks.
    worker = ThreadPoolExecutor(1, thread_name_prefix="controlwindow-live")

    async def scene(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(studio.scene))

    async def neuron(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(studio.neuron, request.path_params["name"]))

    async def generate(request: Request) -> ASGIApp:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return refused(415, "a generation is asked for in JSON")
        ask = read_ask(await _json(request))
        try:
            return _Generation(studio, ask, waiting, waiting.join(), worker)
        except Full as full:
            return refused(503, full.message, full.hint)

    def failed(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ControlWindowError)
        return refused(400, error.message, error.hint)

    app = Starlette(
        routes=[
            *(Route(path, _serve(*file), methods=["GET"]) for path, file in FILES.items()),
            Route("/api/scene", scene, methods=["GET"]),
            Route("/api/neuron/{name}", neuron, methods=["GET"]),
            Route("/api/generate", generate, methods=["POST"]),
        ],
        exception_handlers={ControlWindowError: failed},
    )
    return Guard(app, token, names)


def _serve(name: str, media_type: str) -> Any:
    content = static_file(name)

    async def serve(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return serve


async def _json(request: Request) -> Any:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            return None
    try:
        return json.loads(body)
    except ValueError:
        return None


def event(kind: str, values: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(values, ensure_ascii=False)}\n\n".encode()


class _Generation:
    """A response that waits in line, generates, and ends with the generation or with whoever asked for it."""

    def __init__(self, studio: Studio, ask: Ask, line: Line, place: Place, worker: ThreadPoolExecutor) -> None:
        self._studio, self._ask, self._line, self._place, self._worker = studio, ask, line, place, worker
        self._left = Event()
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_until_gone(receive))
        work: asyncio.Future[None] | None = None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            if await self._turn(send, gone):
                loop = asyncio.get_running_loop()
                work = loop.run_in_executor(self._worker, self._generate, loop)
                await self._tell(send, gone)
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            # The reader's connection broke while something was being said.
            pass
        finally:
            self._left.set()
            gone.cancel()
            try:
                # The next in line begins when the model is free, not when this reader is gone.
                if work is not None:
                    await asyncio.shield(asyncio.wait([work]))
            finally:
                self._line.leave(self._place)

    async def _turn(self, send: Send, gone: asyncio.Task[None]) -> bool:
        """Wait for the turn and say how many are ahead; False when the reader left."""
        while self._place.ahead:
            await _say(send, event("queued", {"ahead": self._place.ahead}))
            self._place.changed.clear()
            changed = asyncio.create_task(self._place.changed.wait())
            await asyncio.wait([changed, gone], return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if gone.done():
                return False
        return not gone.done()

    async def _tell(self, send: Send, gone: asyncio.Task[None]) -> None:
        """Pass events on as they come."""
        gone.add_done_callback(lambda _task: self._events.put_nowait(None))
        while (said := await self._events.get()) is not None and not gone.done():
            await _say(send, said)

    def _generate(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs in the worker."""

        def put(said: bytes | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._events.put_nowait, said)

        try:
            self._studio.generate(self._ask, lambda kind, values: put(event(kind, values)), self._left)
        except ControlWindowError as error:
            put(event("error", {"message": error.message, "hint": error.hint}))
        except Exception:
            # Whatever broke, the reader must not wait for ever; the details are the terminal's.
            _log.exception("a generation failed")
            put(event("error", {"message": "the generation failed", "hint": "the server's terminal says why"}))
        finally:
            put(None)


async def _say(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
