-- what the tickets stand for that a gateway has given out
-- depends: 20261125_02_stream_sequences

-- migrate: apply

-- One row a ticket that nobody has redeemed.
CREATE TABLE tickets (
    ticket_sha256 bytea PRIMARY KEY,
    use text NOT NULL,
    content bytea NOT NULL,
    owner_id text NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX tickets_ended ON tickets (expires_at);
CREATE INDEX tickets_of_owner ON tickets (owner_id);

-- migrate: rollback

DROP TABLE tickets;
