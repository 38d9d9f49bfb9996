-- Consecutive refused passwords. `account` is a keyed hash of the canonical address, so that this
-- table lists no addresses, and an address without an account has a row like any other. `client` is
-- a known device, or empty for all others together.
CREATE TABLE login_backoff (
    account        BLOB    NOT NULL,
    client         BLOB    NOT NULL,
    failures       INTEGER NOT NULL,
    last_failed_at INTEGER NOT NULL,
    blocked_until  INTEGER NOT NULL,
    PRIMARY KEY (account, client)
) STRICT, WITHOUT ROWID;

CREATE INDEX login_backoff_last_failed_at_idx ON login_backoff (last_failed_at);

-- Attempts to change a password, by the signed-in account.
CREATE TABLE password_attempt (
    id      BLOB    NOT NULL PRIMARY KEY,
    user_id BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX password_attempt_user_id_idx ON password_attempt (user_id, at);
