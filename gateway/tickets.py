"""Tickets: for what cannot send a header (an EventSource of another site, a download link, the first visit of a browser), good once, soon over, for one thing.

A ticket is a random text. The record keeps its hash and, sealed, the bearer token that it stands for; so it is short enough for a URL whatever the token
grants, it is good once on all replicas of the gateway together, and whoever reads the record can use neither.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from materials.v1 import errors_pb2, record_service_pb2

from gateway.sealing import Sealer
from gateway.services import CALL_SECONDS, Services, refusals
from servicekit.errors import ServiceError
from servicekit.identity import Caller

TICKET_BYTES = 24


class Purpose(enum.StrEnum):
    """What a ticket is good for."""

    EVENTS = "events"
    CONTENT = "content"
    SIGN_IN = "sign-in"


#: Seconds. A sign-in link is printed on a screen and clicked by a person; the others are used by the program that asked.
LIFETIMES = {Purpose.EVENTS: 60, Purpose.CONTENT: 60, Purpose.SIGN_IN: 600}


@dataclass(frozen=True)
class Ticket:
    """One as given out."""

    text: str
    expires_at: datetime


class Tickets:
    """Gives out and takes back. Both raise Refused where the record refuses or is away."""

    def __init__(self, sealer: Sealer, services: Services) -> None:
        self._sealer, self._services = sealer, services

    async def issue(self, caller: Caller, purpose: Purpose, resource: str) -> Ticket:
        """A ticket for `resource`, the path it opens; "" for a sign-in."""
        text = secrets.token_urlsafe(TICKET_BYTES)
        request = record_service_pb2.KeepTicketRequest(
            ticket_sha256=_sha256(text),
            use=_use(purpose, resource),
            content=self._sealer.seal({"token": caller.token}).encode(),
            owner_id=caller.subject,
            lifetime_seconds=LIFETIMES[purpose],
        )
        with refusals("status"):
            answer = await self._services.record.KeepTicket(
                request, metadata=self._services.own_identity(), timeout=CALL_SECONDS
            )
        return Ticket(text, answer.expires_at.ToDatetime(UTC))

    async def redeem(self, text: str, purpose: Purpose, resource: str) -> str:
        """Uses it up; the bearer token it stands for. For something else it is refused and stays good. Raises TICKET_INVALID too."""
        request = record_service_pb2.RedeemTicketRequest(ticket_sha256=_sha256(text), use=_use(purpose, resource))
        with refusals("status"):
            answer = await self._services.record.RedeemTicket(
                request, metadata=self._services.own_identity(), timeout=CALL_SECONDS
            )
        content = self._sealer.open(answer.content.decode())
        if content is None:  # kept by a gateway with another secret
            raise ServiceError(
                errors_pb2.ERROR_REASON_TICKET_INVALID,
                "this ticket is used up, expired, or for something else; get a new one",
            )
        return str(content["token"])


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


def _use(purpose: Purpose, resource: str) -> str:
    # However long the path of a request is: what the record takes has an end.
    return f"{purpose}:{_sha256(resource).hex()}"
