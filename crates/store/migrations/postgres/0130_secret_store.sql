-- Named secrets of the product and of its tenants. '' is: of no tenant. How each value came is a row of
-- stored_secret_version; what is served of it is sealed there, and gone once it is served no more.
CREATE TABLE stored_secret (
    id           UUID   NOT NULL PRIMARY KEY,
    tenant       TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    owner        TEXT   NOT NULL,
    purpose      TEXT   NOT NULL,
    -- How a new value is made: `provider` (by somebody else), or at random, such as `hex:32`.
    made         TEXT   NOT NULL,
    -- Microseconds; 0: never by itself.
    rotate_every BIGINT NOT NULL,
    overlap      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    -- When the version in use came.
    rotated_at   BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    -- When somebody was last told that it is too old.
    told_at      BIGINT,
    UNIQUE (tenant, name)
);

CREATE INDEX stored_secret_rotated_at_idx ON stored_secret (rotated_at);

CREATE TABLE stored_secret_version (
    secret_id    UUID   NOT NULL REFERENCES stored_secret (id) ON DELETE CASCADE,
    version      BIGINT NOT NULL,
    public       TEXT   NOT NULL,
    sealed       TEXT,
    created_at   BIGINT NOT NULL,
    -- NULL: it is in use.
    served_until BIGINT,
    made_by      TEXT   NOT NULL,
    -- A digest of the caller's idempotency key.
    request      BYTEA,
    PRIMARY KEY (secret_id, version),
    UNIQUE (secret_id, request)
);

CREATE INDEX stored_secret_version_served_until_idx ON stored_secret_version (served_until) WHERE sealed IS NOT NULL;
