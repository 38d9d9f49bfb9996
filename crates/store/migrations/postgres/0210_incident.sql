-- Incidents: what happened, what was done about it, and what is still to be done.
CREATE TABLE incident (
    id              UUID    NOT NULL PRIMARY KEY,
    title           TEXT    NOT NULL,
    severity        TEXT    NOT NULL,
    opened_at       BIGINT NOT NULL,
    acknowledged_at BIGINT,
    triaged_at      BIGINT,
    root_cause      TEXT,
    closed_at       BIGINT
);

CREATE INDEX incident_opened_at_idx ON incident (opened_at, id);

-- What was done or found, in order. Nothing of it is changed afterwards.
CREATE TABLE incident_note (
    incident_id UUID    NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    noted_by    TEXT    NOT NULL,
    phase       TEXT    NOT NULL,
    text        TEXT    NOT NULL,
    PRIMARY KEY (incident_id, number)
);

-- What is to be done so that it does not happen again.
CREATE TABLE incident_task (
    incident_id UUID    NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    text        TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    due_at      BIGINT,
    done_at     BIGINT,
    result      TEXT,
    PRIMARY KEY (incident_id, number)
);
