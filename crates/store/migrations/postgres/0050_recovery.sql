-- When the owner last proved to receive mail at the account's address.
ALTER TABLE users ADD COLUMN email_verified_at BIGINT;

-- Links that were sent. Only the hash of a token is kept, and a used one is gone. The address is the
-- one that the link was sent to: for another one it proves nothing.
CREATE TABLE recovery_token (
    token_hash      BYTEA  NOT NULL PRIMARY KEY,
    user_id         UUID  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose         TEXT  NOT NULL,
    email_canonical TEXT  NOT NULL,
    expires_at      BIGINT NOT NULL
);

CREATE INDEX recovery_token_user_id_idx ON recovery_token (user_id, purpose);
CREATE INDEX recovery_token_expires_at_idx ON recovery_token (expires_at);

-- How many letters were asked for. `account` is a keyed hash of the canonical address, whether or
-- not it has an account.
CREATE TABLE recovery_request (
    account BYTEA  NOT NULL PRIMARY KEY,
    since   BIGINT NOT NULL,
    count   BIGINT NOT NULL
);

-- Letters on their way. Who they are for and what they say is sealed.
CREATE TABLE outbox (
    id         UUID NOT NULL PRIMARY KEY,
    sealed     BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    due_at     BIGINT NOT NULL,
    attempts   BIGINT NOT NULL
);

CREATE INDEX outbox_due_at_idx ON outbox (due_at);
