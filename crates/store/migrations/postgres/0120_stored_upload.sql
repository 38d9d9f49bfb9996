-- Files of users that the gate keeps. What is in a file stands, sealed, in the folder of `[upload-store]`; its
-- key, its name and all that is said of it here stand in `sealed`, so that no row passes for another.
CREATE TABLE stored_upload (
    id         UUID   NOT NULL PRIMARY KEY,
    -- '' is: of no tenant.
    tenant     TEXT   NOT NULL,
    -- Who sent it: `user:ID`, `api-key:ID`, `visitor:ID` or `anonymous`.
    owner      TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    size       BIGINT NOT NULL,
    sha256     BYTEA  NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('kept', 'quarantined')),
    verdict    TEXT   NOT NULL CHECK (verdict IN ('clean', 'not-scanned', 'infected', 'unscanned')),
    -- What the scanner calls it.
    found      TEXT,
    created_at BIGINT NOT NULL,
    -- When the product took it, as far as the gate knows.
    taken_at   BIGINT,
    sealed     TEXT   NOT NULL
);

CREATE INDEX stored_upload_state_idx ON stored_upload (state, id);
CREATE INDEX stored_upload_untaken_idx ON stored_upload (created_at) WHERE taken_at IS NULL;
