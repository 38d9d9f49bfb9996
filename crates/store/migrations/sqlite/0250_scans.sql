-- What the team's scanners found: a summary of each report.
CREATE TABLE scan_report (
    id          BLOB NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    tool        TEXT NOT NULL,
    version     TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    recorded_by TEXT NOT NULL,
    sha256      BLOB NOT NULL,
    found       TEXT NOT NULL,
    passed      INTEGER NOT NULL,
    still_open  INTEGER NOT NULL
) STRICT;
CREATE INDEX scan_report_latest ON scan_report (name, recorded_at);

-- Findings that somebody lives with, until a day.
CREATE TABLE scan_accepted (
    name        TEXT NOT NULL,
    rule        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    until       INTEGER NOT NULL,
    accepted_by TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    PRIMARY KEY (name, rule)
) STRICT;

-- Since when a scan is wanted, and when somebody was last told of it.
CREATE TABLE scan_wanted (
    name          TEXT NOT NULL PRIMARY KEY,
    first_seen_at INTEGER NOT NULL
) STRICT;
CREATE TABLE scan_told (
    name    TEXT NOT NULL PRIMARY KEY,
    told_at INTEGER NOT NULL
) STRICT;
