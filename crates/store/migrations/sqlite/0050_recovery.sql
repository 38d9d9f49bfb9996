-- When the owner last proved to receive mail at the account's address.
ALTER TABLE users ADD COLUMN email_verified_at INTEGER;

-- Links that were sent. Only the hash of a token is kept, and a used one is gone. The address is the
-- one that the link was sent to: for another one it proves nothing.
CREATE TABLE recovery_token (
    token_hash      BLOB  NOT NULL PRIMARY KEY,
    user_id         BLOB  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose         TEXT  NOT NULL,
    email_canonical TEXT  NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX recovery_token_user_id_idx ON recovery_token (user_id, purpose);
CREATE INDEX recovery_token_expires_at_idx ON recovery_token (expires_at);

-- How many letters were asked for. `account` is a keyed hash of the canonical address, whether or
-- not it has an account.
CREATE TABLE recovery_request (
    account BLOB  NOT NULL PRIMARY KEY,
    since   INTEGER NOT NULL,
    count   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Letters on their way. Who they are for and what they say is sealed.
CREATE TABLE outbox (
    id         BLOB NOT NULL PRIMARY KEY,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_due_at_idx ON outbox (due_at);
