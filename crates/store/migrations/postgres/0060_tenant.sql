-- A tenant is never deleted, only suspended: neither its id nor its short name (slug) is ever
-- given to another.
CREATE TABLE tenant (
    id           UUID    NOT NULL PRIMARY KEY,
    slug         TEXT    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    created_at   BIGINT NOT NULL,
    suspended_at BIGINT
);

CREATE TABLE membership (
    user_id    UUID    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id  UUID    NOT NULL REFERENCES tenant (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, tenant_id)
);

CREATE INDEX membership_tenant_id_idx ON membership (tenant_id, created_at);

-- A role of the policy, or `custom:NAME` of tenant_role.
CREATE TABLE member_role (
    user_id   UUID NOT NULL,
    tenant_id UUID NOT NULL,
    role      TEXT NOT NULL,
    PRIMARY KEY (user_id, tenant_id, role),
    FOREIGN KEY (user_id, tenant_id) REFERENCES membership (user_id, tenant_id) ON DELETE CASCADE
);

CREATE INDEX member_role_tenant_id_idx ON member_role (tenant_id, role);

-- Roles that a tenant makes for itself. Both lists are separated by spaces.
CREATE TABLE tenant_role (
    tenant_id   UUID    NOT NULL REFERENCES tenant (id),
    name        TEXT    NOT NULL,
    permissions TEXT    NOT NULL,
    inherits    TEXT    NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- Only the hash of the token is kept.
CREATE TABLE invitation (
    id              UUID    NOT NULL PRIMARY KEY,
    token_hash      BYTEA   NOT NULL UNIQUE,
    tenant_id       UUID    NOT NULL REFERENCES tenant (id),
    email_canonical TEXT    NOT NULL,
    email           TEXT    NOT NULL,
    roles           TEXT    NOT NULL,
    invited_by      UUID,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    redeemed_at     BIGINT,
    revoked_at      BIGINT
);

CREATE INDEX invitation_tenant_id_idx ON invitation (tenant_id, created_at);

-- A permission that one member lends to another. It counts while the lender holds it.
CREATE TABLE delegation (
    id         UUID    NOT NULL PRIMARY KEY,
    tenant_id  UUID    NOT NULL REFERENCES tenant (id),
    user_id    UUID    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    permission TEXT    NOT NULL,
    granted_by UUID    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE INDEX delegation_user_id_idx ON delegation (user_id, tenant_id, expires_at);
CREATE INDEX delegation_granted_by_idx ON delegation (granted_by, tenant_id, expires_at);
CREATE INDEX delegation_tenant_id_idx ON delegation (tenant_id, created_at);

-- The tenant that a session works in. Nothing: the one that the account begins in.
ALTER TABLE session ADD COLUMN tenant_id UUID;
