-- which waiting material was announced with a sequence of the stream
-- depends: 20261125_01_operators

-- migrate: apply

CREATE INDEX materials_announced_sequence ON materials (announced_sequence)
    WHERE announced_at IS NOT NULL AND ((deleted_at IS NULL AND status = 1) OR (deleted_at IS NOT NULL AND purged_parts <> 3));

-- migrate: rollback

DROP INDEX materials_announced_sequence;
