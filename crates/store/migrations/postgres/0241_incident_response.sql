-- Routes that answer nobody while an incident goes on.
CREATE TABLE route_freeze (
    pattern     TEXT   NOT NULL PRIMARY KEY,
    incident_id UUID NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    reason      TEXT   NOT NULL,
    frozen_at   BIGINT NOT NULL,
    frozen_by   TEXT   NOT NULL
);

-- What was contained, and how far it reached: for whoever has to be told.
CREATE TABLE incident_scope (
    incident_id    UUID NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
    number         BIGINT NOT NULL,
    at             BIGINT NOT NULL,
    scope          TEXT   NOT NULL,
    accounts       BIGINT NOT NULL,
    sessions       BIGINT NOT NULL,
    token_families BIGINT NOT NULL,
    api_keys       BIGINT NOT NULL,
    visits         BIGINT NOT NULL,
    PRIMARY KEY (incident_id, number)
);
