"""The generations of the index in Postgres: which one is in use, which one is being built, by whom, and the switch from one to the other.

A generation is all passages that one rule cut and one model embedded; vectors of two models cannot be compared, so whoever embeds or searches must know
which one is in use. It may change at any moment between that look and what follows. Writers therefore name the generation that they embedded for and hold
its row (`hold`) until they commit: the switch waits for them, and they find out when it came first (GenerationChanged). The switch looks for pages that are
not in the new generation while it keeps all writers out, so no page can be left behind.

One processor at a time builds, by a lease on the database's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from processor_service.index.passages import CHUNKING_RULE
from servicekit.postgres import Connection, Postgres

#: A builder that says nothing for this long is taken for dead.
BUILDER_LEASE_SECONDS = 15.0

COLUMNS = "generation, embedding_model, chunking_rule, started_at, switched_at, status_message, passages_left_out"
SERVING_NUMBER = "SELECT generation FROM index_generations WHERE state = 'serving'"
IN_STATE = f"SELECT {COLUMNS} FROM index_generations WHERE state = $1"
# The index of a new database is empty: its passages will be cut by the rule of today.
NAME_THE_FIRST = """
    UPDATE index_generations SET embedding_model = $1,
        chunking_rule = CASE WHEN EXISTS (SELECT FROM pages) THEN chunking_rule ELSE $2 END
    WHERE state = 'serving' AND embedding_model = ''
"""
HOLD = "SELECT state FROM index_generations WHERE generation = $1 FOR SHARE"
# For who changes the row afterwards: of two that hold it together neither could.
HOLD_ALONE = "SELECT state FROM index_generations WHERE generation = $1 FOR NO KEY UPDATE"
# Of two at once one is refused by one index or the other, and then finds what the first has made.
START = """
    INSERT INTO index_generations (generation, embedding_model, chunking_rule, state)
    SELECT max(generation) + 1, $1, $2, 'building' FROM index_generations
    ON CONFLICT DO NOTHING
"""
CANCEL = "UPDATE index_generations SET state = 'retired' WHERE state = 'building'"
CLAIM = f"""
    UPDATE index_generations SET builder = $2, builder_lease_expires_at = clock_timestamp() + make_interval(secs => $3)
    WHERE generation = (
        SELECT generation FROM index_generations
        WHERE state = $1 AND cleared_at IS NULL
            AND (builder = $2 OR builder_lease_expires_at IS NULL OR builder_lease_expires_at < clock_timestamp())
        ORDER BY generation LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING {COLUMNS}
"""
RENEW = """
    UPDATE index_generations SET builder_lease_expires_at = clock_timestamp() + make_interval(secs => $3)
    WHERE generation = $1 AND builder = $2 AND state = $4 RETURNING generation
"""
RELEASE = "UPDATE index_generations SET builder = '', builder_lease_expires_at = NULL WHERE builder = $1"
TELL = "UPDATE index_generations SET status_message = $2 WHERE generation = $1 AND state = 'building' AND status_message <> $2"
HOLD_BOTH = """
    SELECT generation, state FROM index_generations WHERE state IN ('serving', 'building') ORDER BY generation FOR UPDATE
"""
ANY_OLDER_PAGE = "SELECT 1 FROM pages WHERE generation < $1 LIMIT 1"
RETIRE = """
    UPDATE index_generations SET state = 'retired', builder = '', builder_lease_expires_at = NULL WHERE state = 'serving'
"""
SERVE = """
    UPDATE index_generations
    SET state = 'serving', switched_at = clock_timestamp(), status_message = '', builder = '', builder_lease_expires_at = NULL
    WHERE generation = $1
"""
COUNT_PAGES = "SELECT count(*) AS total, count(*) FILTER (WHERE generation >= $1) AS done FROM pages"


class GenerationChanged(Exception):
    """The generation that was worked for is not what it was: in use no more, or given up. Look again."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One index of all materials. `embedding_model` is a name of the processors' settings; `passages_left_out` are those that the model refused."""

    number: int
    embedding_model: str
    chunking_rule: str
    started_at: datetime
    switched_at: datetime | None
    status_message: str
    passages_left_out: int


async def hold(connection: Connection, number: int, state: str, *, alone: bool = False) -> None:
    """Keeps a generation in its state until the transaction ends; `alone` where the transaction writes to it, too. Raises GenerationChanged when it is in
    another state."""
    if await connection.fetchval(HOLD_ALONE if alone else HOLD, number) != state:
        raise GenerationChanged


class GenerationStore:
    """All methods raise servicekit.errors.Unavailable when Postgres is away; each may be repeated.

    `first_model` is the name of the model that embedded whatever was there before generations had names."""

    def __init__(self, postgres: Postgres, *, first_model: str) -> None:
        self._postgres, self._first_model = postgres, first_model

    async def serving(self) -> Generation:
        """The one in use."""
        found = await self._in_state("serving")
        if found is not None and not found.embedding_model:
            await self._postgres.execute(NAME_THE_FIRST, self._first_model, CHUNKING_RULE)
            found = await self._in_state("serving")
        assert found is not None, "there is always one: the switch is one transaction"
        return found

    async def building(self) -> Generation | None:
        """The one being built, if any."""
        return await self._in_state("building")

    async def start(self, embedding_model: str) -> Generation:
        """Begins to build one, or answers the one being built."""
        while True:
            if (building := await self.building()) is not None:
                return building
            await self._postgres.execute(START, embedding_model, CHUNKING_RULE)

    async def cancel(self) -> None:
        """Gives up the one being built; changes nothing when none is."""
        await self._postgres.execute(CANCEL)

    async def count_pages(self, number: int) -> tuple[int, int]:
        """How many pages have passages in a generation or a newer one, and how many there are. Reads an index entry for each page."""
        row = await self._postgres.fetchrow(COUNT_PAGES, number)
        assert row is not None, "an aggregate is always one row"
        return row["done"], row["total"]

    async def claim_building(self, builder: str) -> Generation | None:
        """The one being built, now leased to `builder`; None when there is none, or another builds it."""
        return await self._claim("building", builder)

    async def claim_retired(self, builder: str) -> Generation | None:
        """One whose passages are to be deleted, now leased to `builder`."""
        return await self._claim("retired", builder)

    async def renew(self, number: int, builder: str, state: str) -> bool:
        """Lengthens the lease. False when it is lost, or the generation is in another state by now."""
        return await self._postgres.fetchrow(RENEW, number, builder, BUILDER_LEASE_SECONDS, state) is not None

    async def release(self, builder: str) -> None:
        """Gives up every lease of a builder that stops, so that another goes on at once."""
        await self._postgres.execute(RELEASE, builder)

    async def tell(self, number: int, message: str) -> None:
        """Says what the building waits for; "" for nothing."""
        await self._postgres.execute(TELL, number, message)

    async def switch(self, number: int) -> bool:
        """Puts the generation in use, when every page is in it. False, with nothing changed, when one is not. Raises GenerationChanged when it was given up."""
        async with self._postgres.connection() as connection, connection.transaction():
            states = {row["generation"]: row["state"] for row in await connection.fetch(HOLD_BOTH)}
            if states.get(number) != "building":
                raise GenerationChanged
            # A statement of its own, begun when nobody can write any more: it sees every page that was written for the other.
            if await connection.fetchval(ANY_OLDER_PAGE, number) is not None:
                return False
            await connection.execute(RETIRE)
            await connection.execute(SERVE, number)
            return True

    async def _in_state(self, state: str) -> Generation | None:
        return _generation(await self._postgres.fetchrow(IN_STATE, state))

    async def _claim(self, state: str, builder: str) -> Generation | None:
        return _generation(await self._postgres.fetchrow(CLAIM, state, builder, BUILDER_LEASE_SECONDS))


def _generation(row: asyncpg.Record | None) -> Generation | None:
    return Generation(*row) if row is not None else None
