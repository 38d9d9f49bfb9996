-- How often what was recorded, by the hour (UTC): the numbers of the console's first page. Kept in the
-- transaction that gives events their place in the log. Derived: the events themselves are what is proved.
CREATE TABLE audit_hour (
    -- Its beginning, in microseconds.
    hour    BIGINT NOT NULL,
    action  TEXT   NOT NULL,
    outcome TEXT   NOT NULL,
    -- The problem that a refusal was answered with; '' for none.
    reason  TEXT   NOT NULL,
    events  BIGINT NOT NULL,
    PRIMARY KEY (hour, action, outcome, reason)
);

-- What there is of the last week is counted now.
INSERT INTO audit_hour (hour, action, outcome, reason, events)
SELECT at / 3600000000 * 3600000000, action, outcome, coalesce(metadata::json ->> 'problem', ''), sum(coalesce((metadata::json ->> 'count')::bigint, 1))::bigint
FROM audit_event WHERE leaf IS NOT NULL AND at >= (extract(epoch FROM now())::bigint - 604800) * 1000000
GROUP BY 1, 2, 3, 4;

-- Requests by how they ended, by the hour, of all nodes.
CREATE TABLE traffic_hour (
    hour     BIGINT NOT NULL,
    -- forwarded, own, refused, failed
    exit     TEXT   NOT NULL,
    -- The problem that a refusal was answered with; '' for what was no refusal.
    reason   TEXT   NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (hour, exit, reason)
);
