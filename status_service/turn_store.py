"""The SQL of taking turns, by name. It walks from one waiting owner to the next over a partial index, so an owner's ten thousand materials cost what one does.

Only so many owners are looked at, beginning behind the one that was served last and going round. So where more wait, the window moves on with each claim,
comes by everybody, and nobody is passed over twice: whoever was not served when it came by has waited longest by then. (Deliveries would not do as a
beginning: JetStream delivers what was given back before anything new, so those of one owner may come again and again.)
"""

from __future__ import annotations

_WAITS = "m.status = 1 AND m.deleted_at IS NULL"
_DUE = f"{_WAITS} AND (m.not_before IS NULL OR m.not_before <= clock_timestamp())"


def _owners(name: str, first: str, bound: str = "true") -> str:
    """A recursive query of owners with a waiting material, in order, at most $2."""
    return f"""
        {name} AS (
            (SELECT m.owner_id, 1 AS number FROM materials m WHERE {_WAITS} AND {first} AND {bound} ORDER BY m.owner_id LIMIT 1)
            UNION ALL
            SELECT following.owner_id, before.number + 1 FROM {name} before CROSS JOIN LATERAL (
                SELECT m.owner_id FROM materials m WHERE {_WAITS} AND m.owner_id > before.owner_id AND {bound} ORDER BY m.owner_id LIMIT 1
            ) following WHERE before.number < $2
        )
    """


def _waiting(behind: str, most: str) -> str:
    """A query of owners with a material that is due, the one whose turn it is first, `most` of them; with each its leases and its oldest due material. It
    begins behind the owner that `behind` says."""
    return f"""
        WITH RECURSIVE {_owners("onward", f"m.owner_id > {behind}")}, {_owners("around", f"m.owner_id <= {behind}", f"m.owner_id <= {behind}")},
        owners AS (SELECT owner_id FROM (SELECT 0, number, owner_id FROM onward UNION ALL SELECT 1, number, owner_id FROM around) a(part, number, owner_id)
                   ORDER BY part, number LIMIT $2),
        leases AS (SELECT m.owner_id, count(*) AS held FROM materials m WHERE m.status = 2 AND m.deleted_at IS NULL GROUP BY m.owner_id)
        SELECT owners.owner_id, coalesce(leases.held, 0) AS held, oldest.material_id
        FROM owners
        CROSS JOIN LATERAL (
            SELECT m.material_id, m.created_at FROM materials m WHERE m.owner_id = owners.owner_id AND {_DUE} ORDER BY m.created_at, m.material_id LIMIT 1
        ) oldest
        LEFT JOIN leases USING (owner_id)
        LEFT JOIN LATERAL (
            SELECT m.claimed_at FROM materials m WHERE m.owner_id = owners.owner_id AND m.claimed_at IS NOT NULL ORDER BY m.claimed_at DESC LIMIT 1
        ) served ON true
        ORDER BY held, served.claimed_at NULLS FIRST, oldest.created_at, oldest.material_id
        LIMIT {most}
    """


#: Of $2 owners at most the first $1 in turn.
WAITING = _waiting("''", "$1")
#: For a claim of the material $1 by the worker $3 with the claim id $4: what it was granted last, if anything; the owner of the material, if that is due; and
#: whose turn it is, of $2 owners behind the one that was served last of all, with the owner's oldest material.
PICK = f"""
    WITH served AS MATERIALIZED (SELECT m.owner_id FROM materials m WHERE m.claimed_at IS NOT NULL ORDER BY m.claimed_at DESC LIMIT 1)
    SELECT (SELECT m.material_id FROM materials m WHERE m.status = 2 AND m.lease_worker = $3 AND m.lease_claim_id = $4
            ORDER BY m.claimed_at DESC LIMIT 1) AS granted,
           asked.owner_id AS asked_owner, first.owner_id AS first_owner, first.material_id AS first_material
    FROM (SELECT 1) one
    LEFT JOIN (SELECT m.owner_id FROM materials m WHERE m.material_id = $1 AND {_DUE}) asked ON true
    LEFT JOIN ({_waiting("coalesce((SELECT owner_id FROM served), '')", "1")}) first ON asked.owner_id IS NOT NULL
"""
LEASES = """
    SELECT m.material_id, m.owner_id, m.lease_worker, m.claimed_at, clock_timestamp() AS now FROM materials m
    WHERE m.status = 2 AND m.deleted_at IS NULL
"""
