-- Passkeys (WebAuthn). `credential` is the public key with its counter, as JSON: nothing in it is a
-- secret. An id belongs to one account.
CREATE TABLE passkey (
    id            UUID NOT NULL PRIMARY KEY,
    user_id       UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id BYTEA NOT NULL UNIQUE,
    credential    TEXT NOT NULL,
    name          TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    last_used_at  BIGINT
);

CREATE INDEX passkey_user_id_idx ON passkey (user_id);

-- Questions that an authenticator has not answered yet. Each is good for one answer, from the browser
-- that holds the token. Without a user: a sign-in, where the answer says who it is.
CREATE TABLE passkey_ceremony (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    user_id    UUID REFERENCES users (id) ON DELETE CASCADE,
    purpose    TEXT NOT NULL,
    state      TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX passkey_ceremony_user_id_idx ON passkey_ceremony (user_id);
CREATE INDEX passkey_ceremony_expires_at_idx ON passkey_ceremony (expires_at);
