-- whose turn it is: when a material was last claimed, and the owners that wait
-- depends: 20261125_03_tickets

-- migrate: apply

-- When it was last claimed: of a leased material since when the lease is held, of an owner's materials when the owner was last served.
ALTER TABLE materials ADD COLUMN claimed_at timestamptz;

-- The owners that wait, each owner's materials oldest first: walked from one owner to the next, whatever lies between.
CREATE INDEX materials_waiting ON materials (owner_id, created_at, material_id) WHERE status = 1 AND deleted_at IS NULL;
-- When an owner was last served.
CREATE INDEX materials_owner_claimed ON materials (owner_id, claimed_at DESC) WHERE claimed_at IS NOT NULL;
-- Who was served last of all.
CREATE INDEX materials_claimed ON materials (claimed_at DESC) WHERE claimed_at IS NOT NULL;

-- migrate: rollback

DROP INDEX materials_claimed;
DROP INDEX materials_owner_claimed;
DROP INDEX materials_waiting;
ALTER TABLE materials DROP COLUMN claimed_at;
