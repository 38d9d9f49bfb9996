-- One sign-in of a client that holds tokens: every access and refresh token of it is of one family.
CREATE TABLE token_family (
    id               BLOB    NOT NULL PRIMARY KEY,
    user_id          BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at       INTEGER NOT NULL,
    authenticated_at INTEGER NOT NULL,
    second_factor_at INTEGER,
    last_used_at     INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    revoked_at       INTEGER,
    client_address   TEXT,
    user_agent       TEXT
) STRICT;

CREATE INDEX token_family_user_id_idx ON token_family (user_id, created_at);
CREATE INDEX token_family_expires_at_idx ON token_family (expires_at);

-- Only hashes: whoever reads this table can use none of the tokens. What follows a token is worked
-- out from it, the salt and a key outside the database, so that it can be given out twice.
CREATE TABLE refresh_token (
    token_hash BLOB    NOT NULL PRIMARY KEY,
    family_id  BLOB    NOT NULL REFERENCES token_family (id) ON DELETE CASCADE,
    issued_at  INTEGER NOT NULL,
    used_at    INTEGER,
    used_by    BLOB,
    salt       BLOB
) STRICT;

CREATE INDEX refresh_token_family_id_idx ON refresh_token (family_id);
