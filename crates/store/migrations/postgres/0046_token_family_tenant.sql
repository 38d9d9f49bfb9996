-- The tenant that the sign-in works in, as its session had chosen it. Nothing: the person's own.
ALTER TABLE token_family ADD COLUMN tenant_id UUID;
