-- One sign-in of a client that holds tokens: every access and refresh token of it is of one family.
CREATE TABLE token_family (
    id               UUID   NOT NULL PRIMARY KEY,
    user_id          UUID   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at       BIGINT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    second_factor_at BIGINT,
    last_used_at     BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    revoked_at       BIGINT,
    client_address   TEXT,
    user_agent       TEXT
);

CREATE INDEX token_family_user_id_idx ON token_family (user_id, created_at);
CREATE INDEX token_family_expires_at_idx ON token_family (expires_at);

-- Only hashes: whoever reads this table can use none of the tokens. What follows a token is worked
-- out from it, the salt and a key outside the database, so that it can be given out twice.
CREATE TABLE refresh_token (
    token_hash BYTEA  NOT NULL PRIMARY KEY,
    family_id  UUID   NOT NULL REFERENCES token_family (id) ON DELETE CASCADE,
    issued_at  BIGINT NOT NULL,
    used_at    BIGINT,
    used_by    BYTEA,
    salt       BYTEA
);

CREATE INDEX refresh_token_family_id_idx ON refresh_token (family_id);
