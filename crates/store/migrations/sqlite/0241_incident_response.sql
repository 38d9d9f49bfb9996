-- Routes that answer nobody while an incident goes on.
CREATE TABLE route_freeze (
    pattern     TEXT   NOT NULL PRIMARY KEY,
    incident_id BLOB NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    reason      TEXT   NOT NULL,
    frozen_at   INTEGER NOT NULL,
    frozen_by   TEXT   NOT NULL
) STRICT;

-- What was contained, and how far it reached: for whoever has to be told.
CREATE TABLE incident_scope (
    incident_id    BLOB NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    number         INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    scope          TEXT   NOT NULL,
    accounts       INTEGER NOT NULL,
    sessions       INTEGER NOT NULL,
    token_families INTEGER NOT NULL,
    api_keys       INTEGER NOT NULL,
    visits         INTEGER NOT NULL,
    PRIMARY KEY (incident_id, number)
) STRICT;
