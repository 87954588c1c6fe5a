"""Tickets that were used: each is good once, on whichever replica it comes first."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from servicekit.errors import FieldInvalid
from servicekit.postgres import Postgres

LONGEST_SECONDS = 24 * 3600.0

# One reading of the clock for all that is decided. Of many callers at once the primary key lets one insert.
REDEEM = """
    WITH ticket AS MATERIALIZED (SELECT $1::uuid AS ticket_id, $2::timestamptz - clock_timestamp() AS remaining),
    redeemed AS (
        INSERT INTO redeemed_tickets (ticket_id, expires_at)
        SELECT ticket_id, $2 FROM ticket WHERE remaining > interval '0' AND remaining <= make_interval(secs => $3)
        ON CONFLICT DO NOTHING RETURNING ticket_id
    )
    SELECT EXISTS (SELECT FROM redeemed) AS redeemed, remaining > make_interval(secs => $3) AS too_long FROM ticket
"""
# Some time after the end: a clock that was set back must not make a used ticket good again.
FORGET_TICKETS = "DELETE FROM redeemed_tickets WHERE expires_at < clock_timestamp() - make_interval(secs => $1)"


class TicketStore:
    """The used tickets in the database."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def redeem(self, ticket_id: UUID, expires_at: datetime) -> bool:
        """Whether the ticket was neither used nor ended until now. Raises FieldInvalid for an end more than a day away, and Unavailable."""
        row = await self._postgres.fetchrow(REDEEM, ticket_id, expires_at, LONGEST_SECONDS)
        assert row is not None, "a row, whatever was inserted"
        if row["too_long"]:
            raise FieldInvalid("expires_at", "must be at most a day away")
        return bool(row["redeemed"])
