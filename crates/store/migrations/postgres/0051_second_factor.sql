-- When the session's second factor was proved; NULL with one factor only.
ALTER TABLE session ADD COLUMN second_factor_at BIGINT;

-- Authenticator apps. The secret is sealed. `last_step` is the time step of the last code that was
-- accepted: none at or before it is accepted again. Not confirmed, it is no factor yet.
CREATE TABLE totp (
    user_id      UUID NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed       BYTEA NOT NULL,
    last_step    BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    confirmed_at BIGINT
);

-- Hashes of recovery codes. A used one is gone.
CREATE TABLE recovery_code (
    user_id   UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash BYTEA NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);

-- Sign-ins whose first factor was right and whose second is still to come. They are no sessions.
CREATE TABLE sign_in_challenge (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    user_id    UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);

CREATE INDEX sign_in_challenge_user_id_idx ON sign_in_challenge (user_id);
CREATE INDEX sign_in_challenge_expires_at_idx ON sign_in_challenge (expires_at);
