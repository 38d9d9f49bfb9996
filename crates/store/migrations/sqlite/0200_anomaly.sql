-- What was found in the audit trail: one row for each thing that went on, of a detector and a subject.
CREATE TABLE anomaly (
    id        BLOB    NOT NULL PRIMARY KEY,
    detector  TEXT    NOT NULL,
    severity  TEXT    NOT NULL,
    -- kind:name, or gate
    subject   TEXT    NOT NULL,
    tenant_id BLOB,
    told      TEXT    NOT NULL,
    began_at  INTEGER NOT NULL,
    found_at  INTEGER NOT NULL,
    last_at   INTEGER NOT NULL,
    ended_at  INTEGER,
    count     INTEGER NOT NULL,
    -- Whoever looks at the same events again finds nothing twice.
    UNIQUE (detector, subject, began_at)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX anomaly_open_idx ON anomaly (detector, subject) WHERE ended_at IS NULL;
CREATE INDEX anomaly_time_idx ON anomaly (began_at, id);

-- Which node looks, until when, and how far it has come.
CREATE TABLE anomaly_watch (
    -- Always 1
    id           INTEGER NOT NULL PRIMARY KEY,
    holder       BLOB    NOT NULL,
    lease_until  INTEGER NOT NULL,
    looked_until INTEGER
) STRICT;
