"""Tickets that nobody has redeemed: each is good once, on whichever replica it comes first, until its end by the database's clock."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime

from materials.v1 import errors_pb2

from servicekit.errors import ServiceError, Unavailable
from servicekit.postgres import Postgres

#: Of one owner at once. A browser needs one for each stream or download that it opens.
MAX_TICKETS_OF_OWNER = 100

KEEP = """
    INSERT INTO tickets (ticket_sha256, use, content, owner_id, expires_at)
    SELECT $1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5)
    WHERE (SELECT count(*) FROM tickets WHERE owner_id = $4 AND expires_at > clock_timestamp()) < $6
    RETURNING expires_at
"""
# Of many callers at once one deletes the row.
REDEEM = """
    DELETE FROM tickets WHERE ticket_sha256 = $1 AND use = $2 AND expires_at > clock_timestamp() RETURNING content
"""
FORGET_TICKETS = "DELETE FROM tickets WHERE expires_at <= clock_timestamp()"


@dataclass(frozen=True)
class Ticket:
    """A ticket as it is kept: the hash of what its bearer shows, what it is good for, what it stands for, whose it is."""

    sha256: bytes
    use: str
    content: bytes
    owner_id: str


class TicketStore:
    """The tickets in the database."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def keep(self, ticket: Ticket, lifetime_seconds: float) -> datetime:
        """Until when it is good. Raises Unavailable OWNER_REQUEST_LIMIT."""
        row = await self._postgres.fetchrow(
            KEEP, ticket.sha256, ticket.use, ticket.content, ticket.owner_id, lifetime_seconds, MAX_TICKETS_OF_OWNER
        )
        if row is None:
            raise Unavailable(
                errors_pb2.ERROR_REASON_OWNER_REQUEST_LIMIT,
                f"you have {MAX_TICKETS_OF_OWNER} tickets that were not used; use them, or wait until they end",
                retry_after=random.uniform(5.0, 15.0),
            )
        expires_at: datetime = row["expires_at"]
        return expires_at

    async def redeem(self, sha256: bytes, use: str) -> bytes:
        """What it stands for. Raises TICKET_INVALID: one answer for all, so that nobody learns which it was."""
        row = await self._postgres.fetchrow(REDEEM, sha256, use)
        if row is None:
            raise ServiceError(
                errors_pb2.ERROR_REASON_TICKET_INVALID,
                "this ticket is used up, expired, or for something else; get a new one",
            )
        content: bytes = row["content"]
        return content
