-- The audit trail. Append-only: the triggers below refuse every change of what has been written.
CREATE TABLE audit_event (
    id UUID NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id UUID,
    action TEXT NOT NULL,
    target TEXT,
    outcome TEXT NOT NULL,
    request_id UUID,
    client_address TEXT,
    tenant_id UUID,
    metadata TEXT NOT NULL
);

CREATE INDEX audit_event_by_time ON audit_event (at, id);
CREATE INDEX audit_event_by_actor ON audit_event (actor_id, at, id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_event_by_action ON audit_event (action, at, id);

CREATE FUNCTION audit_event_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only';
END
$$;

CREATE TRIGGER audit_event_refuse_change BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_event_refuse_change();

CREATE TRIGGER audit_event_refuse_truncate BEFORE TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuse_change();
