-- What other services told us: one row for each message, written before it is acknowledged.
-- `seq` is the order in which they came. `event` is the sender's id of it, or a digest of its body: a
-- second one of the same id is the same message. Headers and body are sealed.
CREATE TABLE webhook_delivery (
    seq         BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          UUID    NOT NULL UNIQUE,
    endpoint    TEXT    NOT NULL,
    event       TEXT    NOT NULL,
    kind        TEXT,
    order_key   BYTEA,
    sealed      BYTEA    NOT NULL,
    -- waiting, delivered, dead
    state       TEXT    NOT NULL,
    received_at BIGINT NOT NULL,
    -- When it may be taken: while one has it, the end of its lease.
    due_at      BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    -- What the product answered last, or why it did not.
    status      BIGINT,
    fault       TEXT,
    ended_at    BIGINT,
    keep_until  BIGINT,
    UNIQUE (endpoint, event)
);

CREATE INDEX webhook_delivery_due_idx ON webhook_delivery (endpoint, due_at) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_order_idx ON webhook_delivery (endpoint, order_key, seq) WHERE state = 'waiting' AND order_key IS NOT NULL;
CREATE INDEX webhook_delivery_state_idx ON webhook_delivery (state, seq);
CREATE INDEX webhook_delivery_keep_until_idx ON webhook_delivery (keep_until) WHERE keep_until IS NOT NULL;
