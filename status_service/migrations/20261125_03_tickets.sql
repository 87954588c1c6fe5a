-- which tickets of a gateway were used
-- depends: 20261125_02_stream_sequences

-- migrate: apply

-- One row a used ticket, kept until it could not be used any more.
CREATE TABLE redeemed_tickets (
    ticket_id uuid PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

CREATE INDEX redeemed_tickets_ended ON redeemed_tickets (expires_at);

-- migrate: rollback

DROP TABLE redeemed_tickets;
