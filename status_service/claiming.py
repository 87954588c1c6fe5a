"""Who gets which material, and who should give one up: the record as it is, put to the rules of turns.

A claim in turn may be granted another material than the one asked for: it is the turn of the owner with the fewest leases, and between equal ones of the
owner served longest ago. Where that is the owner of the material asked for, this one is granted, so that its delivery is dealt with; else that owner's
oldest due one. Which one is read beside the writer, and decided by it: when another claim was faster there, the next is picked. So two claims at once
cost one more look, and a lease is given once whatever happens.

What can go wrong: a repeat that overtakes its first self finds no lease yet and may be given a second one. The first is never renewed then and runs out.
"""

from __future__ import annotations

from uuid import UUID

from materials.v1 import status_service_pb2

from servicekit.postgres import Postgres
from status_service import queue_store, turn_store
from status_service.events import Claim
from status_service.operating import SEEN_SECONDS
from status_service.record_writer import RecordWriter
from status_service.state_machine import Decision, Verdict
from status_service.turns import Lease, all_taken, to_yield

#: Owners that are compared at once.
MOST_OWNERS = 200
#: Picks of a claim before it is left with the material that it asked for.
PICKS = 4
#: What a pick that came too late is refused by.
_TOO_LATE = frozenset({Verdict.LEASED, Verdict.ENDED, Verdict.NOT_DUE, Verdict.NOT_FOUND})


class Claiming:
    """Claims and turns. `quantum` is how long a lease is held, in seconds, before its owner's only one is given up to an owner with none."""

    def __init__(self, postgres: Postgres, writer: RecordWriter, *, quantum: float) -> None:
        self._postgres, self._writer, self._quantum = postgres, writer, quantum

    async def claim(self, material_id: UUID, claim: Claim, *, in_turn: bool) -> Decision:
        """The decision on a claim of this material, or of the one whose turn it is. Raises UnknownMaterial, Unavailable."""
        for _ in range(PICKS if in_turn else 0):
            picked = await self._pick(material_id, claim)
            if picked == material_id:
                break
            decision = await self._writer.submit(picked, claim)
            if decision.verdict not in _TOO_LATE:
                return decision
        return await self._writer.submit(material_id, claim)

    async def to_yield(self, worker: str) -> list[UUID]:
        """The materials that this worker should hand back. Raises Unavailable."""
        processors = await self._postgres.fetch(queue_store.PROCESSORS, SEEN_SECONDS)
        slots = {
            row["worker_id"]: row["slots"]
            for row in processors
            if row["breaker"] == status_service_pb2.BREAKER_STATE_CLOSED
        }
        rows = await self._postgres.fetch(turn_store.LEASES)
        leases = [Lease(row["material_id"], row["owner_id"], row["lease_worker"], row["claimed_at"]) for row in rows]
        if not leases or worker not in slots or not all_taken(leases, slots):
            return []
        waiting = await self._postgres.fetch(turn_store.WAITING, len(leases), MOST_OWNERS)
        owners = [row["owner_id"] for row in waiting]
        yielding = to_yield(leases, slots, owners, now=rows[0]["now"], quantum=self._quantum)
        return [lease.material_id for lease in yielding if lease.worker == worker]

    async def _pick(self, material_id: UUID, claim: Claim) -> UUID:
        """The material whose turn it is. The one asked for where it is its owner's turn, and where it cannot be claimed: its delivery is to hear why."""
        row = await self._postgres.fetchrow(turn_store.PICK, material_id, MOST_OWNERS, claim.worker, claim.claim_id)
        assert row is not None, "a row of what there is"
        if row["granted"] is not None:
            return UUID(str(row["granted"]))
        if row["first_owner"] in (None, row["asked_owner"]):
            return material_id
        return UUID(str(row["first_material"]))
