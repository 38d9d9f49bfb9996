-- The keys that sign tokens. Only salts: the keys are derived from these and the master secret.
CREATE TABLE signing_key (
    generation BIGINT NOT NULL PRIMARY KEY,
    kid        TEXT   NOT NULL UNIQUE,
    salt       BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    active_at  BIGINT NOT NULL,
    revoked_at BIGINT
);
