-- Links that open an account. Only the hash of a token is kept, and a used one is gone.
CREATE TABLE registration_token (
    token_hash BLOB NOT NULL PRIMARY KEY,
    email      TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX registration_token_expires_at_idx ON registration_token (expires_at);
