-- Consecutive refused passwords. `account` is a keyed hash of the canonical address, so that this
-- table lists no addresses, and an address without an account has a row like any other. `client` is
-- a known device, or empty for all others together.
CREATE TABLE login_backoff (
    account        BYTEA  NOT NULL,
    client         BYTEA  NOT NULL,
    failures       BIGINT NOT NULL,
    last_failed_at BIGINT NOT NULL,
    blocked_until  BIGINT NOT NULL,
    PRIMARY KEY (account, client)
);

CREATE INDEX login_backoff_last_failed_at_idx ON login_backoff (last_failed_at);

-- Attempts to change a password, by the signed-in account.
CREATE TABLE password_attempt (
    id      UUID   NOT NULL PRIMARY KEY,
    user_id UUID   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at      BIGINT NOT NULL
);

CREATE INDEX password_attempt_user_id_idx ON password_attempt (user_id, at);
