-- The origins of the pages that may open a tenant's widget, as browsers write them.
CREATE TABLE widget_origin (
    tenant_id  UUID   NOT NULL REFERENCES tenant (id),
    origin     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, origin)
);

-- Somebody without an account, in a widget. Only the hash of the token is kept, and the row no longer
-- than the visit. `metadata` is JSON with a few known keys about the browser.
CREATE TABLE visitor (
    id         UUID   NOT NULL PRIMARY KEY,
    token_hash BYTEA  NOT NULL UNIQUE,
    tenant_id  UUID   NOT NULL REFERENCES tenant (id),
    origin     TEXT   NOT NULL,
    metadata   TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE INDEX visitor_tenant_id_idx ON visitor (tenant_id, created_at, id);
CREATE INDEX visitor_expires_at_idx ON visitor (expires_at);
