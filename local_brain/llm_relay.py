"""Hands a prompt on to a language model behind any endpoint that speaks the chat format of OpenAI (Ollama, vLLM, llama.cpp).

One try with a deadline, temperature 0, a reply of bounded length. Trying again is for the Brain's callers, who know how long they
can wait. What goes wrong is told as the AI Brain's contract has it: 503 when the endpoint cannot be reached or is loading, 504
when it takes too long, 502 when what it answers is no reply of this format, 429 when it or this relay has too much to do, and
500 when it refuses the request or gives no text. Messages hold the endpoint's status and never its words, which may repeat the prompt.
The key goes into one header of one request and nowhere else; redirects are not followed, since they would take it elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

_MAX_TOKENS = 1024
_MAX_REPLY_BYTES = 1024 * 1024
_MAX_UNDER_WAY = 16
_DEFAULT_SECONDS = 120.0
_CONNECT_SECONDS = 5.0
_MAX_SECONDS = 3600.0
_NO_URL = "LOCAL_BRAIN_LLM_URL is not a URL such as http://localhost:11434"


@dataclass(frozen=True)
class RelaySettings:
    """Where the model is: the address that takes chats, the model's name, a key that no repr shows, and the deadline of a reply."""

    chat_url: str
    model: str
    key: str | None = field(default=None, repr=False)
    seconds: float = _DEFAULT_SECONDS


@dataclass(frozen=True)
class RelayedText:
    """What the model wrote, and its name as the endpoint gives it."""

    text: str
    model: str


class RelayError(Exception):
    """The model gave no text. `status` is the HTTP status to answer with, the message says why."""

    def __init__(self, status: int, detail: str, retry_after: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


def relay_settings(environment: Mapping[str, str]) -> RelaySettings | None:
    """From `LOCAL_BRAIN_LLM_URL`, `_MODEL`, `_KEY` and `_SECONDS`; None without a URL. Raises ValueError, with a message for the operator."""
    url = environment.get("LOCAL_BRAIN_LLM_URL", "").strip().rstrip("/")
    if not url:
        return None
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(_NO_URL) from error
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise ValueError(_NO_URL)
    if parts.userinfo:
        raise ValueError("LOCAL_BRAIN_LLM_URL holds a name or password; put the key into LOCAL_BRAIN_LLM_KEY")
    model = environment.get("LOCAL_BRAIN_LLM_MODEL", "").strip()
    if not model:
        raise ValueError("LOCAL_BRAIN_LLM_URL is set without LOCAL_BRAIN_LLM_MODEL, the name of the model to use there")
    key = environment.get("LOCAL_BRAIN_LLM_KEY", "").strip() or None
    if key and not (key.isascii() and key.isprintable()):
        raise ValueError("LOCAL_BRAIN_LLM_KEY holds characters that no HTTP header may have")
    chat_url = f"{url if url.endswith('/v1') else f'{url}/v1'}/chat/completions"
    return RelaySettings(chat_url, model, key, _seconds(environment.get("LOCAL_BRAIN_LLM_SECONDS", "")))


class LlmRelay:
    """The model behind the endpoint. At most 16 prompts are under way at once; for use in one event loop."""

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self._tls = ssl.create_default_context()
        self._under_way = 0

    @property
    def model(self) -> str:
        """The name of the model that is asked for."""
        return self._settings.model

    async def write(self, prompt: str) -> RelayedText:
        """What the model answers to the prompt. Raises RelayError."""
        if self._under_way >= _MAX_UNDER_WAY:
            raise RelayError(429, "Too many prompts wait for the language model; try again in 5 s", retry_after="5")
        self._under_way += 1
        try:
            async with asyncio.timeout(self._settings.seconds):
                status, headers, body = await self._exchange(prompt)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise RelayError(504, f"The language model did not answer within {self._settings.seconds:g} s") from error
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise RelayError(503, "The language model cannot be reached") from error
        except httpx.HTTPError as error:
            raise RelayError(502, "The language model's reply was cut off or is not HTTP") from error
        finally:
            self._under_way -= 1
        if status != 200:
            raise _refusal(status, headers.get("retry-after"))
        return _text_of(body, self._settings.model)

    async def _exchange(self, prompt: str) -> tuple[int, httpx.Headers, bytes]:
        request = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": _MAX_TOKENS,
            "stream": False,
        }
        # Not compressed: a small reply could unfold into more than fits into memory.
        headers = {"Accept-Encoding": "identity"}
        if self._settings.key:
            headers["Authorization"] = f"Bearer {self._settings.key}"
        timeout = httpx.Timeout(self._settings.seconds, connect=min(_CONNECT_SECONDS, self._settings.seconds))
        async with (
            httpx.AsyncClient(verify=self._tls, timeout=timeout, trust_env=False) as http,
            http.stream("POST", self._settings.chat_url, json=request, headers=headers) as reply,
        ):
            body = bytearray()
            async for piece in reply.aiter_bytes():
                body += piece
                if len(body) > _MAX_REPLY_BYTES:
                    raise RelayError(502, f"The language model's reply has more than {_MAX_REPLY_BYTES} bytes")
            return reply.status_code, reply.headers, bytes(body)


def _refusal(status: int, retry_after: str | None) -> RelayError:
    if status == 429:
        seconds = retry_after if retry_after and retry_after.isascii() and retry_after.isdecimal() else None
        return RelayError(429, "The language model has too much to do; try again later", retry_after=seconds)
    if status in (503, 504):
        return RelayError(status, f"The language model's server answered {status}; it may be loading")
    if status >= 500:
        return RelayError(502, f"The language model's server failed with {status}")
    return RelayError(
        500, f"The language model's server refused the request with {status}; see LOCAL_BRAIN_LLM_URL, _MODEL and _KEY"
    )


def _text_of(body: bytes, asked_model: str) -> RelayedText:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RelayError(502, "The language model's reply is not JSON, or is cut off") from error
    if not isinstance(reply, dict):
        raise RelayError(502, "The language model's reply is not a JSON object")
    match reply:
        case {"choices": [{"message": {"content": str(text)}}, *_]} if text.strip():
            model = reply.get("model")
            # Half a surrogate pair is valid JSON but no text that could be sent on.
            text = text.encode(errors="replace").decode().strip()
            return RelayedText(text, model if isinstance(model, str) and model.isprintable() and model else asked_model)
    raise RelayError(500, "The language model gave no text")


def _seconds(given: str) -> float:
    try:
        seconds = float(given) if given.strip() else _DEFAULT_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _MAX_SECONDS:
        raise ValueError(f"LOCAL_BRAIN_LLM_SECONDS is {given!r}; use a number of seconds up to {_MAX_SECONDS:g}")
    return seconds
