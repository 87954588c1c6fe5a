"""Links that open the page signed in: asked of the gateway over HTTP, good once, for ten minutes."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import httpx

from materials_cli.connection import CALL_SECONDS, GATEWAY, Connection
from materials_cli.errors import CommandError, Unreachable
from materials_cli.refusals import explain_refusal
from servicekit.documents import Document
from servicekit.refusals import Refusal, unanswered

_CERTIFICATE = (
    "its certificate is not of an authority known here, or for another name; set MATERIALS_CA_FILE to the right one"
)


async def sign_in_link(connection: Connection) -> Document:
    """A new link as `{"url": …, "expires_at": …}`. Raises CommandError."""
    gateway = connection.service(GATEWAY)
    try:
        async with (
            asyncio.timeout(CALL_SECONDS),
            httpx.AsyncClient(timeout=CALL_SECONDS, trust_env=False, verify=connection.authorities) as client,
        ):
            reply = await client.post(
                f"{gateway.address}/tickets", json={"purpose": "sign-in"}, headers=connection.identity
            )
    except (TimeoutError, httpx.TimeoutException) as error:
        late = unanswered(grpc.StatusCode.DEADLINE_EXCEEDED, gateway.name, gateway.place)
        raise explain_refusal(late, gateway) from error
    except httpx.HTTPError as error:
        nobody = unanswered(grpc.StatusCode.UNAVAILABLE, gateway.name, gateway.place)
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Unreachable(f"{nobody.message}: {_CERTIFICATE}") from error
        raise explain_refusal(nobody, gateway) from error
    answer = _object_of(reply)
    if reply.is_error and answer.get("reason"):
        away = reply.status_code == httpx.codes.SERVICE_UNAVAILABLE
        code = grpc.StatusCode.UNAVAILABLE if away else grpc.StatusCode.UNKNOWN
        message = str(answer.get("detail") or reply.reason_phrase).rstrip(".")
        raise explain_refusal(Refusal(code, str(answer["reason"]), message), gateway)
    path = answer.get("url")
    if not reply.is_success or not isinstance(path, str) or not path.startswith("/#"):
        raise CommandError(
            f"what is at {gateway.address} (from {gateway.origin}) is no gateway: it answered HTTP {reply.status_code}; "
            f"set {gateway.variable} to the gateway's URL"
        )
    return {"url": gateway.address + path, "expires_at": answer.get("expires_at")}


def _object_of(reply: httpx.Response) -> dict[str, Any]:
    try:
        content = reply.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
