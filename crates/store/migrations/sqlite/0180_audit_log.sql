-- The audit trail as one Merkle log: every event is a leaf.
ALTER TABLE audit_event ADD COLUMN leaf INTEGER;
-- What identifies a person: as it was written, or sealed under the person's key. The leaf has its hash.
ALTER TABLE audit_event ADD COLUMN personal TEXT;
ALTER TABLE audit_event ADD COLUMN sealed TEXT;
ALTER TABLE audit_event ADD COLUMN personal_hash BLOB;

CREATE UNIQUE INDEX audit_event_by_leaf ON audit_event (leaf) WHERE leaf IS NOT NULL;
CREATE INDEX audit_event_waiting ON audit_event (at, id) WHERE leaf IS NULL;
CREATE INDEX audit_event_unsealed ON audit_event (leaf) WHERE personal IS NOT NULL AND leaf IS NOT NULL;
CREATE INDEX audit_event_by_tenant ON audit_event (tenant_id, at, id) WHERE tenant_id IS NOT NULL;

-- One row: the newest signed head. Events before `kept_from` may lose their content.
CREATE TABLE audit_log (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    log_id BLOB NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    checkpoint TEXT,
    signed_at INTEGER NOT NULL,
    kept_from INTEGER NOT NULL
) STRICT;

CREATE TABLE audit_tile (
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, position)
) STRICT;

-- Three changes are left to an event: it gets its place in the log, its personal part is sealed, and that
-- part goes.
DROP TRIGGER audit_event_refuse_update;
CREATE TRIGGER audit_event_refuse_update BEFORE UPDATE ON audit_event
WHEN NOT (
    NEW.id IS OLD.id AND NEW.at IS OLD.at AND NEW.actor_kind IS OLD.actor_kind
    AND NEW.actor_id IS OLD.actor_id AND NEW.action IS OLD.action AND NEW.target IS OLD.target
    AND NEW.outcome IS OLD.outcome AND NEW.request_id IS OLD.request_id
    AND NEW.client_address IS OLD.client_address AND NEW.tenant_id IS OLD.tenant_id
    AND NEW.metadata IS OLD.metadata AND NEW.personal_hash IS OLD.personal_hash
    AND (NEW.leaf IS OLD.leaf OR OLD.leaf IS NULL)
    AND (NEW.personal IS OLD.personal OR NEW.personal IS NULL)
    AND (NEW.sealed IS OLD.sealed OR NEW.sealed IS NULL OR OLD.sealed IS NULL)
    AND NOT (NEW.leaf IS OLD.leaf AND NEW.personal IS OLD.personal AND NEW.sealed IS OLD.sealed)
)
BEGIN
    SELECT RAISE(ABORT, 'the audit trail is append-only');
END;

-- The retention rule removes what is past it, and never what is younger than a day, whatever `kept_from` says.
DROP TRIGGER audit_event_refuse_delete;
CREATE TRIGGER audit_event_refuse_delete BEFORE DELETE ON audit_event
WHEN OLD.leaf IS NULL
    OR OLD.at >= coalesce((SELECT kept_from FROM audit_log), -9223372036854775807)
    OR OLD.at >= (unixepoch() - 86400) * 1000000
BEGIN
    SELECT RAISE(ABORT, 'the audit trail is append-only');
END;
