-- How often what was recorded, by the hour (UTC): the numbers of the console's first page. Kept in the
-- transaction that gives events their place in the log. Derived: the events themselves are what is proved.
CREATE TABLE audit_hour (
    -- Its beginning, in microseconds.
    hour    INTEGER NOT NULL,
    action  TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    -- The problem that a refusal was answered with; '' for none.
    reason  TEXT    NOT NULL,
    events  INTEGER NOT NULL,
    PRIMARY KEY (hour, action, outcome, reason)
) STRICT, WITHOUT ROWID;

-- What there is of the last week is counted now.
INSERT INTO audit_hour (hour, action, outcome, reason, events)
SELECT at / 3600000000 * 3600000000, action, outcome, coalesce(metadata ->> 'problem', ''), sum(coalesce(metadata ->> 'count', 1))
FROM audit_event WHERE leaf IS NOT NULL AND at >= (unixepoch() - 604800) * 1000000
GROUP BY 1, 2, 3, 4;

-- Requests by how they ended, by the hour, of all nodes.
CREATE TABLE traffic_hour (
    hour     INTEGER NOT NULL,
    -- forwarded, own, refused, failed
    exit     TEXT    NOT NULL,
    -- The problem that a refusal was answered with; '' for what was no refusal.
    reason   TEXT    NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (hour, exit, reason)
) STRICT, WITHOUT ROWID;
