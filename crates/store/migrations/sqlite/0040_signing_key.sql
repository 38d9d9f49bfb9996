-- The keys that sign tokens. Only salts: the keys are derived from these and the master secret.
CREATE TABLE signing_key (
    generation INTEGER NOT NULL PRIMARY KEY,
    kid        TEXT    NOT NULL UNIQUE,
    salt       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    active_at  INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
