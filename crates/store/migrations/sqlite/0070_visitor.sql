-- The origins of the pages that may open a tenant's widget, as browsers write them.
CREATE TABLE widget_origin (
    tenant_id  BLOB   NOT NULL REFERENCES tenant (id),
    origin     TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, origin)
) STRICT, WITHOUT ROWID;

-- Somebody without an account, in a widget. Only the hash of the token is kept, and the row no longer
-- than the visit. `metadata` is JSON with a few known keys about the browser.
CREATE TABLE visitor (
    id         BLOB   NOT NULL PRIMARY KEY,
    token_hash BLOB   NOT NULL UNIQUE,
    tenant_id  BLOB   NOT NULL REFERENCES tenant (id),
    origin     TEXT   NOT NULL,
    metadata   TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX visitor_tenant_id_idx ON visitor (tenant_id, created_at, id);
CREATE INDEX visitor_expires_at_idx ON visitor (expires_at);
