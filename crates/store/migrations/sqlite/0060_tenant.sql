-- A tenant is never deleted, only suspended: neither its id nor its short name (slug) is ever
-- given to another.
CREATE TABLE tenant (
    id           BLOB    NOT NULL PRIMARY KEY,
    slug         TEXT    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    suspended_at INTEGER
) STRICT;

CREATE TABLE membership (
    user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id  BLOB    NOT NULL REFERENCES tenant (id),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, tenant_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX membership_tenant_id_idx ON membership (tenant_id, created_at);

-- A role of the policy, or `custom:NAME` of tenant_role.
CREATE TABLE member_role (
    user_id   BLOB NOT NULL,
    tenant_id BLOB NOT NULL,
    role      TEXT NOT NULL,
    PRIMARY KEY (user_id, tenant_id, role),
    FOREIGN KEY (user_id, tenant_id) REFERENCES membership (user_id, tenant_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX member_role_tenant_id_idx ON member_role (tenant_id, role);

-- Roles that a tenant makes for itself. Both lists are separated by spaces.
CREATE TABLE tenant_role (
    tenant_id   BLOB    NOT NULL REFERENCES tenant (id),
    name        TEXT    NOT NULL,
    permissions TEXT    NOT NULL,
    inherits    TEXT    NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

-- Only the hash of the token is kept.
CREATE TABLE invitation (
    id              BLOB    NOT NULL PRIMARY KEY,
    token_hash      BLOB    NOT NULL UNIQUE,
    tenant_id       BLOB    NOT NULL REFERENCES tenant (id),
    email_canonical TEXT    NOT NULL,
    email           TEXT    NOT NULL,
    roles           TEXT    NOT NULL,
    invited_by      BLOB,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    redeemed_at     INTEGER,
    revoked_at      INTEGER
) STRICT;

CREATE INDEX invitation_tenant_id_idx ON invitation (tenant_id, created_at);

-- A permission that one member lends to another. It counts while the lender holds it.
CREATE TABLE delegation (
    id         BLOB    NOT NULL PRIMARY KEY,
    tenant_id  BLOB    NOT NULL REFERENCES tenant (id),
    user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    permission TEXT    NOT NULL,
    granted_by BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE INDEX delegation_user_id_idx ON delegation (user_id, tenant_id, expires_at);
CREATE INDEX delegation_granted_by_idx ON delegation (granted_by, tenant_id, expires_at);
CREATE INDEX delegation_tenant_id_idx ON delegation (tenant_id, created_at);

-- The tenant that a session works in. Nothing: the one that the account begins in.
ALTER TABLE session ADD COLUMN tenant_id BLOB;
