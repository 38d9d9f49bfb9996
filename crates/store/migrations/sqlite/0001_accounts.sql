CREATE TABLE users (
    id              BLOB    NOT NULL PRIMARY KEY,
    email_canonical TEXT    NOT NULL UNIQUE,
    email           TEXT    NOT NULL,
    password_hash   TEXT    NOT NULL,
    display_name    TEXT,
    tenant_id       BLOB,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deactivated_at  INTEGER
) STRICT;

CREATE TABLE user_role (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role    TEXT NOT NULL,
    PRIMARY KEY (user_id, role)
) STRICT, WITHOUT ROWID;

-- Only the hash of a token is kept: whoever reads this table can use none of the sessions.
CREATE TABLE session (
    id               BLOB    NOT NULL PRIMARY KEY,
    token_hash       BLOB    NOT NULL UNIQUE,
    user_id          BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at       INTEGER NOT NULL,
    authenticated_at INTEGER NOT NULL,
    last_seen_at     INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    revoked_at       INTEGER,
    client_address   TEXT,
    user_agent       TEXT
) STRICT;

CREATE INDEX session_user_id_idx ON session (user_id, created_at);
CREATE INDEX session_expires_at_idx ON session (expires_at);
