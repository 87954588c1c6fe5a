"""Client of the AI Brain: pages to text, passages to vectors, prompts to text, over HTTP.

The Brain is slow, restarts at times, and stands behind proxies, so no reply is trusted: each is read in pieces up to
`max_reply_bytes`, within one deadline for the whole call (httpx's own read time-out starts again with every byte, so a
reply of one byte a second would never end), and is then checked against the contract. What fails a check becomes one
of the errors of `brain.errors` and is never returned. Redirects are not followed: the page images would go wherever
the reply points.

This module makes one try. Retries are in `retry_policy`, waiting for a Brain that is away is in `breaker`.
"""

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from processor_service.brain.connections import BrainConnections
from processor_service.brain.errors import (
    BrainBusy,
    BrainError,
    BrainFailed,
    BrainInterrupted,
    BrainMisconfigured,
    BrainRefused,
    BrainTimedOut,
    BrainUnavailable,
    one_line,
)
from processor_service.brain.observed_calls import ObservedCalls
from processor_service.metrics import BrainMetrics
from servicekit.tracing import traced

DEFAULT_PROMPT = (
    "Extract all text from this page in reading order. Keep headings, lists, tables and formulas. "
    "Return only the text of the page, without comments."
)
# Servers and proxies refuse request lines from 8 KiB on (nginx: large_client_header_buffers 8k; Apache:
# LimitRequestLine 8190); RFC 9110 section 4.1 asks them to take 8,000 bytes at least.
MAX_REQUEST_LINE_BYTES = 8_000
# A server cannot park a page for longer than this with its Retry-After.
MAX_RETRY_AFTER_SECONDS = 3_600.0
CONNECT_SECONDS = 10.0
HEALTH_SECONDS = 5.0
MAX_MODEL_CHARS = 100

_MAX_ERROR_BYTES = 16 * 1024
_UNREADABLE_FILE = "Error processing file"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """What the Brain wrote, and its model's name for itself, one line; "" when it gave none."""

    text: str
    model: str


def open_http(
    *, token: str | None = None, ca_file: Path | None = None, max_connections: int = 16, user_agent: str = "processor"
) -> BrainConnections:
    """Connections fit for `BrainClient`; close them with `aclose()` or `async with`.

    `token` is sent as a bearer token, `ca_file` (PEM) replaces the usual authorities. At most `max_connections` are
    in use at once. Redirects are not followed, and proxies or certificates named in the environment are not used.
    Raises OSError or ssl.SSLError when `ca_file` cannot be read.
    """
    # "identity": a compressed reply could expand a thousandfold behind the size check.
    headers = {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    # One for all: reading the authorities takes milliseconds, a client that is given them microseconds.
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    return BrainConnections(headers=headers, tls=tls, most=max_connections)


def fit_url(endpoint: str, text: str, *, max_bytes: int = MAX_REQUEST_LINE_BYTES) -> str:
    """The embedding URL for `text`, trimmed and cut so that `POST <url> HTTP/1.1` has fewer than `max_bytes` bytes.

    The cut falls between characters, so the text sent is always a prefix of `text.strip()`. The whole URL is counted:
    a proxy is sent all of it. Raises ValueError when not even one character fits.
    """
    head = f"{endpoint.rstrip('/')}/utility/embed?text="
    room = max_bytes - 1 - len("POST ") - len(head.encode()) - len(" HTTP/1.1")
    text = text.strip()
    encoded = quote(text, safe="", errors="replace")
    if len(encoded) <= room:
        return head + encoded
    kept = 0
    pieces: list[str] = []
    for char in text:
        piece = quote(char, safe="", errors="replace")
        kept += len(piece)
        if kept > room:
            break
        pieces.append(piece)
    if not pieces:
        raise ValueError(f"a request line of {max_bytes} bytes leaves no room for text: AI_BRAIN_ENDPOINT is too long")
    return head + "".join(pieces)


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Seconds asked for by a Retry-After header (RFC 9110 section 10.2.3: a number of seconds or a date).

    Between 0 and `MAX_RETRY_AFTER_SECONDS`; None when absent or not understood. `now` is aware.
    """
    if header is None:
        return None
    value = header.strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        seconds = float(value)
    else:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def storable_text(text: str) -> str:
    """`text` without what Postgres refuses: NUL is dropped, halves of surrogate pairs become U+FFFD."""
    return _LONE_SURROGATE.sub("\ufffd", text.replace("\x00", ""))


class BrainClient:
    """The four calls of the AI Brain, each one try under one deadline of `timeout_seconds`.

    Every method but `healthy` raises a `BrainError`. `http` should come from `open_http`; the caller closes it.
    """

    def __init__(
        self,
        http: BrainConnections,
        *,
        endpoint: str,
        timeout_seconds: float = 300.0,
        embedding_dimensions: int = 1024,
        max_reply_bytes: int = 8 * 1024 * 1024,
        health_seconds: float = HEALTH_SECONDS,
        metrics: BrainMetrics | None = None,
    ) -> None:
        self._http = http
        self._endpoint = endpoint.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._embedding_dimensions = embedding_dimensions
        self._max_reply_bytes = max_reply_bytes
        self._health_seconds = health_seconds
        self._observed = ObservedCalls(metrics)

    async def healthy(self) -> bool:
        """Whether the Brain says that it is active; False for every kind of failure."""
        try:
            with self._observed.call("health"):
                reply = await self._call("GET", f"{self._endpoint}/", seconds=self._health_seconds)
        except BrainError:
            return False
        return reply.get("status") == "Active"

    async def read_page(self, png: bytes, *, prompt: str = DEFAULT_PROMPT) -> str:
        """The text on a page image, trimmed; "" for a blank page."""
        with self._observed.call("read"):
            return (await self._route({"prompt": prompt}, files={"image": ("page.png", png, "image/png")})).text

    async def generate(self, prompt: str) -> GeneratedText:
        """Text written in answer to `prompt`, trimmed."""
        with self._observed.call("generate"):
            return await self._route({"prompt": prompt})

    async def embed(self, text: str) -> NDArray[np.float32]:
        """The vector of `text`, shape (embedding_dimensions,), finite and not all zero, not normalised.

        Text beyond one request line is left out (see `fit_url`). Raises ValueError for blank text: it has no meaning
        to embed.
        """
        if not text.strip():
            raise ValueError("blank text has no embedding")
        url = fit_url(self._endpoint, text)
        with self._observed.call("embed"):
            reply = await self._call("POST", url, seconds=self._timeout_seconds)
            return _checked_embedding(reply.get("embedding"), self._embedding_dimensions)

    async def _route(
        self, form: dict[str, str], files: dict[str, tuple[str, bytes, str]] | None = None
    ) -> GeneratedText:
        url = f"{self._endpoint}/router"
        reply = await self._call("POST", url, seconds=self._timeout_seconds, data=form, files=files)
        text = reply.get("response")
        if not isinstance(text, str):
            raise BrainFailed("the AI Brain's reply holds no text")
        text = storable_text(text).strip()
        marker, colon, why = text.partition(":")
        if marker == _UNREADABLE_FILE and (colon or not why):
            reason = one_line(why) or "no reason given"
            raise BrainRefused(f"the AI Brain could not read this page: {reason}", reason=reason)
        model = reply.get("model")
        return GeneratedText(text, one_line(model, MAX_MODEL_CHARS) if isinstance(model, str) else "")

    async def _call(self, method: str, url: str, *, seconds: float, **content: Any) -> Mapping[str, Any]:
        """One exchange; the JSON object of a 200 reply, or a BrainError."""
        # Of httpx's own time-outs only these two are to fire before the deadline: nothing has been sent by then.
        early = min(CONNECT_SECONDS, seconds / 2)
        timeout = httpx.Timeout(seconds, connect=early, pool=early)
        try:
            async with asyncio.timeout(seconds):
                headers = dict(traced(()))  # for a Brain that traces too
                async with self._http.stream(method, url, timeout=timeout, headers=headers, **content) as response:
                    if response.status_code != 200:
                        raise await _refusal(response)
                    body = await self._bounded_body(response)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise BrainMisconfigured(
                "no request could be made for the AI Brain: check AI_BRAIN_ENDPOINT (an http or https URL) and "
                "AI_BRAIN_TOKEN (printable ASCII)"
            ) from error
        except httpx.PoolTimeout as error:
            raise BrainBusy("all connections to the AI Brain are in use") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            # The class alone, here and below: the text may name hosts, and this message may reach a user.
            raise BrainUnavailable(f"the AI Brain could not be reached ({type(error).__name__})") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise BrainTimedOut(f"the AI Brain did not answer within {seconds:g} s") from error
        except httpx.TransportError as error:
            raise BrainInterrupted(f"the AI Brain broke off its reply ({type(error).__name__})") from error
        return _json_object(body)

    async def _bounded_body(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise BrainFailed("the AI Brain's reply is compressed, which was not asked for")
        too_large = BrainFailed(f"the AI Brain's reply is larger than {self._max_reply_bytes} bytes")
        if _declared_length(response) > self._max_reply_bytes:
            raise too_large
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > self._max_reply_bytes:
                raise too_large
        return bytes(body)


def _declared_length(response: httpx.Response) -> int:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdecimal() else 0


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrainFailed("the AI Brain's reply is not JSON") from error
    if not isinstance(reply, dict):
        raise BrainFailed("the AI Brain's reply is not a JSON object")
    return reply


def _checked_embedding(numbers: object, dimensions: int) -> NDArray[np.float32]:
    # bool is a subclass of int, and numpy would turn "1.0" into 1.0: only real numbers pass.
    if not isinstance(numbers, list) or any(type(number) not in (int, float) for number in numbers):
        raise BrainFailed("the AI Brain's reply holds no list of numbers as embedding")
    if len(numbers) != dimensions:
        raise BrainMisconfigured(
            f"the AI Brain sent an embedding of {len(numbers)} numbers, but EMBEDDING_DIMENSIONS is {dimensions}: "
            "set it to the size of the Brain's model, or give the Brain the model that the index was built with"
        )
    try:
        with np.errstate(over="ignore"):
            vector = np.array(numbers, dtype=np.float64).astype(np.float32)
    except OverflowError as error:
        raise BrainFailed("the AI Brain's embedding holds a number that is too large") from error
    if not np.isfinite(vector).all():
        raise BrainFailed("the AI Brain's embedding holds NaN or infinity")
    if not vector.any():
        raise BrainFailed("the AI Brain's embedding is all zeros")
    return vector


# 5xx and 4xx replies that are not here are about the one call: failed and refused.
_STATUS_ERRORS: Mapping[int, tuple[type[BrainError], str]] = {
    401: (BrainMisconfigured, "the AI Brain did not accept our identity: check AI_BRAIN_TOKEN"),
    403: (BrainMisconfigured, "the AI Brain did not accept our identity: check AI_BRAIN_TOKEN"),
    404: (BrainMisconfigured, "no AI Brain answers there: check AI_BRAIN_ENDPOINT"),
    405: (BrainMisconfigured, "no AI Brain answers there: check AI_BRAIN_ENDPOINT"),
    408: (BrainUnavailable, "the AI Brain did not receive the request in time"),
    429: (BrainBusy, "the AI Brain is busy"),
    502: (BrainUnavailable, "the AI Brain is unavailable"),
    503: (BrainUnavailable, "the AI Brain is unavailable"),
    504: (BrainTimedOut, "the AI Brain did not answer its proxy in time"),
}


async def _refusal(response: httpx.Response) -> BrainError:
    """The error that a reply other than 200 stands for."""
    status = response.status_code
    if 300 <= status < 400:
        return BrainMisconfigured(
            "the AI Brain answered with a redirect, which is not followed: "
            f"set AI_BRAIN_ENDPOINT to the final address ({status})"
        )
    if status in _STATUS_ERRORS:
        kind, message = _STATUS_ERRORS[status]
        retry_after = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
        return kind(f"{message} ({status})", retry_after=retry_after)
    detail = await _error_detail(response)
    if status == 413:
        detail = "it is larger than the AI Brain accepts"
    told = one_line(f"{status}: {detail}" if detail else str(status))
    if 400 <= status < 500:
        return BrainRefused(f"the AI Brain refused the input: {told}", reason=told)
    return BrainFailed(f"the AI Brain failed: {told}")


async def _error_detail(response: httpx.Response) -> str:
    """The `detail` of an error reply as FastAPI sends it, one line; "" when there is none."""
    body = bytearray()
    try:
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > _MAX_ERROR_BYTES:
                return ""
        detail = json.loads(body)["detail"]
    except (httpx.TransportError, ValueError, RecursionError, LookupError, TypeError):
        return ""
    return one_line(detail if isinstance(detail, str) else json.dumps(detail))
