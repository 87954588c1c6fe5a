"""The four calls of the AI Brain over HTTP.

Calls that come while the models load wait for them in their lane. A caller that hangs up takes its work along: what
still waits is dropped, and a document is left at its next page, so retries after a time-out do not pile up behind pages
that nobody waits for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from threading import Event
from typing import TypeVar

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_brain.answering import answer
from local_brain.documents import UnreadableFileError, document_text, is_pdf
from local_brain.lanes import Lane, LaneFullError
from local_brain.llm_relay import LlmRelay, RelayError
from local_brain.models import EMBEDDING_MODEL, READING_MODEL, Models

T = TypeVar("T")
log = logging.getLogger("local_brain")

MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_PROMPT_BYTES = 1024 * 1024
_EXTRACTIVE_MODEL = f"extractive/{EMBEDDING_MODEL}"


class BrainApi:
    """The routes, and the lane that each kind of work runs in. A `relay` answers the prompts that come without a file."""

    def __init__(self, models: Models, relay: LlmRelay | None = None) -> None:
        self._models = models
        self._relay = relay
        # One page at a time: each uses all cores. An embedding takes milliseconds; a question embeds many sentences.
        self._reading = Lane("reading", workers=1, waiting=32, retry_after=10)
        self._embedding = Lane("embedding", workers=2, waiting=256, retry_after=1)
        self._answering = Lane("answering", workers=1, waiting=16, retry_after=5)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/", self.status, methods=["GET"]),
                Route("/router", self.router, methods=["POST"]),
                Route("/utility/embed", self.embed, methods=["POST"]),
            ],
            middleware=[Middleware(BodyLimit, max_bytes=MAX_REQUEST_BYTES)],
            exception_handlers={
                HTTPException: _http_error,
                LaneFullError: _lane_full,
                RelayError: _relay_failed,
                ClientDisconnect: _nobody_there,
                Exception: _model_error,
            },
        )

    async def status(self, _: Request) -> Response:
        """Active from the start, since calls wait for the models; an error once one of them could not be loaded."""
        state = self._models.state
        return JSONResponse(
            {
                "status": "Error" if state == "failed" else "Active",
                "core_model": READING_MODEL,
                "mode": "local",
                "models": state,
                "text_model": self._relay.model if self._relay else _EXTRACTIVE_MODEL,
                "embedding_model": EMBEDDING_MODEL,
                "embedding_dimensions": self._models.dimensions,
            },
            status_code=503 if state == "failed" else 200,
        )

    async def router(self, request: Request) -> Response:
        """The text of the file in `image`, or an answer to `prompt` alone."""
        async with request.form(max_files=1, max_fields=16, max_part_size=MAX_PROMPT_BYTES) as form:
            prompt, image = form.get("prompt"), form.get("image")
            if not isinstance(prompt, str):
                return _unprocessable("missing", "body", "prompt", "Field required")
            if isinstance(image, str):
                return _unprocessable("value_error", "body", "image", "Expected a file")
            if image is None:
                return await self._answer(request, prompt)
            data = await image.read()
        return await self._read(request, data, image)

    async def embed(self, request: Request) -> Response:
        """The vector of the query parameter `text`."""
        text = request.query_params.get("text")
        if text is None:
            return _unprocessable("missing", "query", "text", "Field required")
        if not text.strip():
            return _unprocessable("value_error", "query", "text", "Blank text has no meaning to embed")
        work = self._embedding.run(lambda: self._models.embedder.result().embed(text))
        return JSONResponse({"embedding": await _while_connected(request, work)})

    async def _read(self, request: Request, data: bytes, image: UploadFile) -> Response:
        pdf = is_pdf(image.content_type, image.filename)
        abandoned = Event()
        started = time.perf_counter()
        try:
            work = self._reading.run(
                lambda: document_text(data, pdf=pdf, read=self._models.reader.result().read, abandoned=abandoned)
            )
            text = await _while_connected(request, work)
            log.info("read a file of %d bytes in %.1f s", len(data), time.perf_counter() - started)
        except UnreadableFileError as error:
            text = f"Error processing file: {error}"
            log.info("could not read a file of %d bytes: %s", len(data), error)
        finally:
            abandoned.set()
        return JSONResponse({"response": text, "model": READING_MODEL})

    async def _answer(self, request: Request, prompt: str) -> Response:
        if self._relay is not None:
            written = await _while_connected(request, self._relay.write(prompt))
            return JSONResponse({"response": written.text, "model": written.model})
        work = self._answering.run(lambda: answer(prompt, self._models.embedder.result().unit_vector))
        text = await _while_connected(request, work)
        return JSONResponse({"response": text, "model": _EXTRACTIVE_MODEL})


class BodyLimit:
    """ASGI middleware: a request body of more than `max_bytes`, declared or not, is answered with 413."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        too_large = HTTPException(413, f"The request has more than {self._max_bytes} bytes")
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await JSONResponse({"detail": too_large.detail}, status_code=413)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise too_large
            return message

        await self._app(scope, counted, send)


async def _while_connected(request: Request, work: Coroutine[None, None, T]) -> T:
    """The result of `work`; when the caller hangs up first, cancels it and raises `ClientDisconnect`."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_hung_up(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return await working
    finally:
        working.cancel()
        leaving.cancel()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _unprocessable(kind: str, place: str, field: str, why: str) -> Response:
    """422 in the form that deployed Brains use."""
    return JSONResponse({"detail": [{"type": kind, "loc": [place, field], "msg": why}]}, status_code=422)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)


async def _lane_full(_: Request, error: Exception) -> Response:
    assert isinstance(error, LaneFullError)
    return JSONResponse({"detail": str(error)}, status_code=429, headers={"Retry-After": str(error.retry_after)})


async def _relay_failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RelayError)
    log.warning("no text from the language model: %s", error.detail)
    headers = {"Retry-After": error.retry_after} if error.retry_after else None
    return JSONResponse({"detail": error.detail}, status_code=error.status, headers=headers)


async def _nobody_there(_: Request, __: Exception) -> Response:
    log.info("a caller has gone; its work is dropped")
    return Response(status_code=400)


async def _model_error(_: Request, error: Exception) -> Response:
    log.error("a model failed", exc_info=error)
    return JSONResponse({"detail": f"The model failed ({type(error).__name__}); try again"}, status_code=500)
