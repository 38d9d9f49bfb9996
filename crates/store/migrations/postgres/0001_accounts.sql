CREATE TABLE users (
    id              UUID   NOT NULL PRIMARY KEY,
    email_canonical TEXT   NOT NULL UNIQUE,
    email           TEXT   NOT NULL,
    password_hash   TEXT   NOT NULL,
    display_name    TEXT,
    tenant_id       UUID,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    deactivated_at  BIGINT
);

CREATE TABLE user_role (
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role    TEXT NOT NULL,
    PRIMARY KEY (user_id, role)
);

-- Only the hash of a token is kept: whoever reads this table can use none of the sessions.
CREATE TABLE session (
    id               UUID   NOT NULL PRIMARY KEY,
    token_hash       BYTEA  NOT NULL UNIQUE,
    user_id          UUID   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at       BIGINT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    last_seen_at     BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    revoked_at       BIGINT,
    client_address   TEXT,
    user_agent       TEXT
);

CREATE INDEX session_user_id_idx ON session (user_id, created_at);
CREATE INDEX session_expires_at_idx ON session (expires_at);
