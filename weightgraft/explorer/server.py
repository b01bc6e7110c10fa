"""The server: three files of a page, and the answers. On the loopback only, for pages of its own only, and for small questions."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weightgraft.errors import UserError
from weightgraft.explorer import answers
from weightgraft.explorer.models import Models
from weightgraft.explorer.questions import Question, read_question, told

LARGEST_BODY = 32 * 1024  # bytes: all texts of a question at their longest, and its clicks
MOST_WAITING = 32  # calls of the models
BODY_SECONDS = 10.0
PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/grid.js": ("grid.js", "text/javascript; charset=utf-8"),
    "/state.js": ("state.js", "text/javascript; charset=utf-8"),
}
# The page loads nothing but these files and asks nobody else; no other page may frame it or read from it.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Refused(Exception):
    """A request that gets no answer: (status, why)."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status, self.why = status, why


def explorer_app(models: Models, port: int) -> ASGIApp:
    """The application. port: of the address that requests must name as their Host."""
    # One thread, so that the models serve one call at a time, in the order in which they came.
    worker = Worker()

    async def info(_: Request) -> Response:
        return _json(await worker.call(answers.about, models))

    def answering(what: Callable[[Models, Question], Any], made: Callable[[Any], Response]) -> Callable:
        async def endpoint(request: Request) -> Response:
            question = await _question(request)
            return made(await worker.call(what, models, question))

        return endpoint

    async def grid(request: Request) -> Response:
        question = await _question(request)
        lines = await worker.call(answers.map_lines, models, question)
        first = await worker.call(next, lines)  # an error is a status while there is nothing sent yet
        return StreamingResponse(_streamed(worker, first, lines), media_type="application/x-ndjson")

    def file(name: str, kind: str) -> Callable:
        content = (files(__package__) / "page" / name).read_bytes()

        async def endpoint(_: Request) -> Response:
            return Response(content, media_type=kind)

        return endpoint

    routes = [Route(path, file(*entry), methods=["GET"]) for path, entry in PAGE.items()]
    routes += [
        Route("/api/about", info, methods=["GET"]),
        Route("/api/answer", answering(answers.answer, _json), methods=["POST"]),
        Route("/api/document", answering(answers.whole, _json), methods=["POST"]),
        Route("/api/picture", answering(answers.picture, _png), methods=["POST"]),
        Route("/api/map", grid, methods=["POST"]),
    ]

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return _json({"error": error.why}, error.status)

    async def mistake(_: Request, error: Exception) -> Response:
        assert isinstance(error, UserError)
        return _json({"error": told(error)}, 422)

    app = Starlette(routes=routes, exception_handlers={Refused: refuse, UserError: mistake})
    app.router.redirect_slashes = False
    return Guard(app, {f"127.0.0.1:{port}", f"localhost:{port}"})


class Worker:
    """The thread in which models are called."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._waiting = 0

    async def call(self, function: Callable, *arguments: Any) -> Any:
        """The function's result, once the calls before it are done.

        Raises:
            Refused: too many wait.
        """
        if self._waiting >= MOST_WAITING:
            raise Refused(429, "too many questions wait for an answer; ask again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._waiting -= 1


class Guard:
    """Refuses what no page of ours would send, before anything else looks at it, and puts HEADERS on every answer."""

    def __init__(self, app: ASGIApp, hosts: set[str]):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # uvicorn is told to open no web sockets
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        if refused := self._refused(scope):
            response = _json({"error": refused.why}, refused.status)
            return await response(scope, receive, send_with_headers)
        with suppress(ClientDisconnect):
            await self.app(scope, receive, send_with_headers)

    def _refused(self, scope: Scope) -> Refused | None:
        """Foreign hosts are how a name that leads to this machine would get here (DNS rebinding), foreign origins how another
        site's page would."""
        values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host = values.get("host", [])
        if len(host) != 1 or host[0].lower() not in self.hosts:
            return Refused(421, "this explorer answers to its own address only")
        own = {f"http://{name}" for name in self.hosts}
        if any(origin.lower() not in own for origin in values.get("origin", [])):
            return Refused(403, "this explorer answers to its own page only")
        if values.get("sec-fetch-site", ["none"])[0] not in ("none", "same-origin") and scope["path"] != "/":
            return Refused(403, "this explorer answers to its own page only")
        length = values.get("content-length", ["0"])[-1]
        if not (length.isascii() and length.isdigit()) or int(length) > LARGEST_BODY:
            return Refused(413, f"a question has at most {LARGEST_BODY:,} bytes")
        if scope["method"] == "POST" and values.get("content-type", [""])[0] != "application/json":
            return Refused(415, "a question is application/json")
        return None


async def _question(request: Request) -> Question:
    """The question in a request's body.

    Raises:
        Refused: it is too large, too slow or no JSON.
        UserError: it says what cannot be.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_BODY:
                    raise Refused(413, f"a question has at most {LARGEST_BODY:,} bytes")
    except TimeoutError:
        raise Refused(408, "the question did not come in time") from None
    try:
        given = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise Refused(400, "the question is no JSON") from None
    return read_question(given)


async def _streamed(worker: Worker, first: dict, lines: Iterator[dict]) -> AsyncIterator[str]:
    """A JSON line for each portion of the map. Between two portions others get their answers."""
    line: dict | None = first
    while line is not None:
        yield json.dumps(line) + "\n"
        line = await worker.call(next, lines, None)


def _json(content: Any, status: int = 200) -> Response:
    return Response(
        json.dumps(content, ensure_ascii=False, allow_nan=False), status, media_type="application/json"
    )


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png")
