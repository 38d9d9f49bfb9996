-- Named secrets of the product and of its tenants. '' is: of no tenant. How each value came is a row of
-- stored_secret_version; what is served of it is sealed there, and gone once it is served no more.
CREATE TABLE stored_secret (
    id           BLOB    NOT NULL PRIMARY KEY,
    tenant       TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    owner        TEXT    NOT NULL,
    purpose      TEXT    NOT NULL,
    -- How a new value is made: `provider` (by somebody else), or at random, such as `hex:32`.
    made         TEXT    NOT NULL,
    -- Microseconds; 0: never by itself.
    rotate_every INTEGER NOT NULL,
    overlap      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    -- When the version in use came.
    rotated_at   INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    -- When somebody was last told that it is too old.
    told_at      INTEGER,
    UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX stored_secret_rotated_at_idx ON stored_secret (rotated_at);

CREATE TABLE stored_secret_version (
    secret_id    BLOB    NOT NULL REFERENCES stored_secret (id) ON DELETE CASCADE,
    version      INTEGER NOT NULL,
    public       TEXT    NOT NULL,
    sealed       TEXT,
    created_at   INTEGER NOT NULL,
    -- NULL: it is in use.
    served_until INTEGER,
    made_by      TEXT    NOT NULL,
    -- A digest of the caller's idempotency key.
    request      BLOB,
    PRIMARY KEY (secret_id, version),
    UNIQUE (secret_id, request)
) STRICT, WITHOUT ROWID;

CREATE INDEX stored_secret_version_served_until_idx ON stored_secret_version (served_until) WHERE sealed IS NOT NULL;
