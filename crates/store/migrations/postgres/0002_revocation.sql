CREATE TABLE revocation (
    seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    TEXT   NOT NULL,
    subject UUID   NOT NULL,
    at      BIGINT NOT NULL
);

CREATE INDEX revocation_at_idx ON revocation (at);
