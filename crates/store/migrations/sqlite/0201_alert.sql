-- Alerts on their way, one row for each recipient.
CREATE TABLE alert (
    id          BLOB    NOT NULL PRIMARY KEY,
    destination TEXT    NOT NULL,
    recipient   TEXT,
    -- began, summary, test
    kind        TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    told        TEXT    NOT NULL,
    -- waiting, sent, dead, silenced
    state       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    -- When it may be taken: while one has it, the end of its lease.
    due_at      INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    fault       TEXT,
    ended_at    INTEGER,
    keep_until  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_due_idx ON alert (destination, due_at) WHERE state = 'waiting';
CREATE INDEX alert_time_idx ON alert (created_at, id);
CREATE INDEX alert_keep_until_idx ON alert (keep_until) WHERE keep_until IS NOT NULL;

-- Of a source and subject each destination is told once until then.
CREATE TABLE alert_group (
    destination TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    told        TEXT    NOT NULL,
    opened_at   INTEGER NOT NULL,
    until_at    INTEGER NOT NULL,
    notices     INTEGER NOT NULL,
    events      INTEGER NOT NULL,
    PRIMARY KEY (destination, source, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_group_until_idx ON alert_group (until_at);

CREATE TABLE alert_silence (
    id        BLOB    NOT NULL PRIMARY KEY,
    source    TEXT    NOT NULL,
    subject   TEXT,
    because   TEXT    NOT NULL,
    made_by   TEXT    NOT NULL,
    made_at   INTEGER NOT NULL,
    until_at  INTEGER NOT NULL,
    lifted_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_silence_source_idx ON alert_silence (source, until_at);
