-- When the session's second factor was proved; NULL with one factor only.
ALTER TABLE session ADD COLUMN second_factor_at INTEGER;

-- Authenticator apps. The secret is sealed. `last_step` is the time step of the last code that was
-- accepted: none at or before it is accepted again. Not confirmed, it is no factor yet.
CREATE TABLE totp (
    user_id      BLOB NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed       BLOB NOT NULL,
    last_step    INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    confirmed_at INTEGER
) STRICT, WITHOUT ROWID;

-- Hashes of recovery codes. A used one is gone.
CREATE TABLE recovery_code (
    user_id   BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash BLOB NOT NULL,
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;

-- Sign-ins whose first factor was right and whose second is still to come. They are no sessions.
CREATE TABLE sign_in_challenge (
    token_hash BLOB NOT NULL PRIMARY KEY,
    user_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sign_in_challenge_user_id_idx ON sign_in_challenge (user_id);
CREATE INDEX sign_in_challenge_expires_at_idx ON sign_in_challenge (expires_at);
