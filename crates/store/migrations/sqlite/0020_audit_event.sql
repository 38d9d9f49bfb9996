-- The audit trail. Append-only: the triggers below refuse every change of what has been written.
CREATE TABLE audit_event (
    id BLOB NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id BLOB,
    action TEXT NOT NULL,
    target TEXT,
    outcome TEXT NOT NULL,
    request_id BLOB,
    client_address TEXT,
    tenant_id BLOB,
    metadata TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_event_by_time ON audit_event (at, id);
CREATE INDEX audit_event_by_actor ON audit_event (actor_id, at, id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_event_by_action ON audit_event (action, at, id);

CREATE TRIGGER audit_event_refuse_update BEFORE UPDATE ON audit_event
BEGIN
    SELECT RAISE(ABORT, 'the audit trail is append-only');
END;

CREATE TRIGGER audit_event_refuse_delete BEFORE DELETE ON audit_event
BEGIN
    SELECT RAISE(ABORT, 'the audit trail is append-only');
END;

-- INSERT OR REPLACE deletes the old row without asking the trigger above, so a known id is passed over.
CREATE TRIGGER audit_event_refuse_replace BEFORE INSERT ON audit_event
WHEN EXISTS (SELECT 1 FROM audit_event WHERE id = NEW.id)
BEGIN
    SELECT RAISE(IGNORE);
END;
