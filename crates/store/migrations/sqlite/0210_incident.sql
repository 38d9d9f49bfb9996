-- Incidents: what happened, what was done about it, and what is still to be done.
CREATE TABLE incident (
    id              BLOB    NOT NULL PRIMARY KEY,
    title           TEXT    NOT NULL,
    severity        TEXT    NOT NULL,
    opened_at       INTEGER NOT NULL,
    acknowledged_at INTEGER,
    triaged_at      INTEGER,
    root_cause      TEXT,
    closed_at       INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX incident_opened_at_idx ON incident (opened_at, id);

-- What was done or found, in order. Nothing of it is changed afterwards.
CREATE TABLE incident_note (
    incident_id BLOB    NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    noted_by    TEXT    NOT NULL,
    phase       TEXT    NOT NULL,
    text        TEXT    NOT NULL,
    PRIMARY KEY (incident_id, number)
) STRICT, WITHOUT ROWID;

-- What is to be done so that it does not happen again.
CREATE TABLE incident_task (
    incident_id BLOB    NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    text        TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    due_at      INTEGER,
    done_at     INTEGER,
    result      TEXT,
    PRIMARY KEY (incident_id, number)
) STRICT, WITHOUT ROWID;
