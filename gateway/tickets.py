"""Tickets: for what cannot send a header (an EventSource of another site, a download link, the first visit of a browser), good once, soon over, for one thing.

A ticket holds the caller's bearer token, sealed, and names its purpose and resource. That it is good only once is the record's doing (RedeemTicket), so it
holds for all replicas of the gateway together.
"""

from __future__ import annotations

import enum
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from materials.v1 import errors_pb2, record_service_pb2

from gateway.sealing import Sealer
from gateway.services import CALL_SECONDS, Services, refusals
from servicekit.errors import ServiceError


class Purpose(enum.StrEnum):
    """What a ticket is good for."""

    EVENTS = "events"
    CONTENT = "content"
    SIGN_IN = "sign-in"


#: Seconds. A sign-in link is printed on a screen and clicked by a person; the others are used by the program that asked.
LIFETIMES = {Purpose.EVENTS: 60, Purpose.CONTENT: 60, Purpose.SIGN_IN: 600}


@dataclass(frozen=True)
class Ticket:
    """One as given out. `expires_at` in Unix seconds."""

    sealed: str
    expires_at: int


class Tickets:
    """Gives out and takes back."""

    def __init__(self, sealer: Sealer, services: Services, *, clock: Callable[[], float] = time.time) -> None:
        self._sealer, self._services, self._clock = sealer, services, clock

    def issue(self, token: str, purpose: Purpose, resource: str) -> Ticket:
        """A ticket for `resource`, the path it opens; "" for a sign-in."""
        expires_at = int(self._clock()) + LIFETIMES[purpose]
        content = {"id": str(uuid.uuid4()), "for": purpose, "at": resource, "exp": expires_at, "token": token}
        return Ticket(self._sealer.seal(content), expires_at)

    async def redeem(self, sealed: str, purpose: Purpose, resource: str) -> str:
        """Uses it up; the bearer token in it. Raises TICKET_INVALID for one that is not ours, over, used, or for something else, and Refused."""
        content = self._sealer.open(sealed)
        # What is for something else is not used up by trying.
        if content is None or (content["for"], content["at"]) != (purpose, resource) or content["exp"] <= self._clock():
            raise invalid_ticket()
        request = record_service_pb2.RedeemTicketRequest(
            ticket_id=content["id"], expires_at=Timestamp(seconds=content["exp"])
        )
        with refusals("status"):
            response = await self._services.record.RedeemTicket(
                request, metadata=self._services.own_identity(), timeout=CALL_SECONDS
            )
        if not response.redeemed:
            raise invalid_ticket()
        return str(content["token"])


def invalid_ticket() -> ServiceError:
    """One answer for all, so that nobody learns which it was."""
    return ServiceError(
        errors_pb2.ERROR_REASON_TICKET_INVALID, "this ticket is used up, expired, or for something else; get a new one"
    )
