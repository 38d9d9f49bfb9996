-- The audit trail as one Merkle log: every event is a leaf.
ALTER TABLE audit_event ADD COLUMN leaf BIGINT;
-- What identifies a person: as it was written, or sealed under the person's key. The leaf has its hash.
ALTER TABLE audit_event ADD COLUMN personal TEXT;
ALTER TABLE audit_event ADD COLUMN sealed TEXT;
ALTER TABLE audit_event ADD COLUMN personal_hash BYTEA;

CREATE UNIQUE INDEX audit_event_by_leaf ON audit_event (leaf) WHERE leaf IS NOT NULL;
CREATE INDEX audit_event_waiting ON audit_event (at, id) WHERE leaf IS NULL;
CREATE INDEX audit_event_unsealed ON audit_event (leaf) WHERE personal IS NOT NULL AND leaf IS NOT NULL;
CREATE INDEX audit_event_by_tenant ON audit_event (tenant_id, at, id) WHERE tenant_id IS NOT NULL;

-- One row: the newest signed head. Events before `kept_from` may lose their content.
CREATE TABLE audit_log (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    log_id UUID NOT NULL,
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    checkpoint TEXT,
    signed_at BIGINT NOT NULL,
    kept_from BIGINT NOT NULL
);

CREATE TABLE audit_tile (
    level BIGINT NOT NULL,
    position BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, position)
);

-- Three changes are left to an event: it gets its place in the log, its personal part is sealed, and that
-- part goes.
CREATE FUNCTION audit_event_refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id IS NOT DISTINCT FROM OLD.id
        AND NEW.at IS NOT DISTINCT FROM OLD.at
        AND NEW.actor_kind IS NOT DISTINCT FROM OLD.actor_kind
        AND NEW.actor_id IS NOT DISTINCT FROM OLD.actor_id
        AND NEW.action IS NOT DISTINCT FROM OLD.action
        AND NEW.target IS NOT DISTINCT FROM OLD.target
        AND NEW.outcome IS NOT DISTINCT FROM OLD.outcome
        AND NEW.request_id IS NOT DISTINCT FROM OLD.request_id
        AND NEW.client_address IS NOT DISTINCT FROM OLD.client_address
        AND NEW.tenant_id IS NOT DISTINCT FROM OLD.tenant_id
        AND NEW.metadata IS NOT DISTINCT FROM OLD.metadata
        AND NEW.personal_hash IS NOT DISTINCT FROM OLD.personal_hash
        AND (NEW.leaf IS NOT DISTINCT FROM OLD.leaf OR OLD.leaf IS NULL)
        AND (NEW.personal IS NOT DISTINCT FROM OLD.personal OR NEW.personal IS NULL)
        AND (NEW.sealed IS NOT DISTINCT FROM OLD.sealed OR NEW.sealed IS NULL OR OLD.sealed IS NULL)
        AND (NEW.leaf IS DISTINCT FROM OLD.leaf OR NEW.personal IS DISTINCT FROM OLD.personal
            OR NEW.sealed IS DISTINCT FROM OLD.sealed)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only';
END
$$;

-- The retention rule removes what is past it, and never what is younger than a day, whatever `kept_from` says.
CREATE FUNCTION audit_event_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.leaf IS NOT NULL
        AND OLD.at < coalesce((SELECT kept_from FROM audit_log), -9223372036854775807)
        AND OLD.at < (extract(epoch FROM now())::bigint - 86400) * 1000000
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only';
END
$$;

DROP TRIGGER audit_event_refuse_change ON audit_event;
CREATE TRIGGER audit_event_refuse_update BEFORE UPDATE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_event_refuse_update();
CREATE TRIGGER audit_event_refuse_delete BEFORE DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_event_refuse_delete();
