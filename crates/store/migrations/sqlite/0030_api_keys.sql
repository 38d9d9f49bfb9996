-- Keys of programs. `hash` is an HMAC of the key under a key of the server: who reads this table holds
-- no key, and cannot test guesses without the server's secret. `user_id` is the person whose key it is
-- (it ends with the account), or nothing for a key of a tenant or of the operator. `imported_hash` is the
-- hash that came from another system: it stays when `hash` becomes one of our own, so that a second
-- import does not bring back a key that was revoked meanwhile.
CREATE TABLE api_key (
    id            BLOB    NOT NULL PRIMARY KEY,
    hash          BLOB    NOT NULL UNIQUE,
    hint          TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    user_id       BLOB    REFERENCES users (id) ON DELETE CASCADE,
    tenant_id     BLOB,
    permissions   TEXT    NOT NULL,
    routes        TEXT,
    rate          TEXT,
    created_by    TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    revoked_at    INTEGER,
    successor_id  BLOB,
    imported_hash BLOB UNIQUE
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_user_id_idx ON api_key (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX api_key_created_at_idx ON api_key (created_at, id);
