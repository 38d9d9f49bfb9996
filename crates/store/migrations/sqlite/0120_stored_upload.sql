-- Files of users that the gate keeps. What is in a file stands, sealed, in the folder of `[upload-store]`; its
-- key, its name and all that is said of it here stand in `sealed`, so that no row passes for another.
CREATE TABLE stored_upload (
    id         BLOB    NOT NULL PRIMARY KEY,
    -- '' is: of no tenant.
    tenant     TEXT    NOT NULL,
    -- Who sent it: `user:ID`, `api-key:ID`, `visitor:ID` or `anonymous`.
    owner      TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    sha256     BLOB    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('kept', 'quarantined')),
    verdict    TEXT    NOT NULL CHECK (verdict IN ('clean', 'not-scanned', 'infected', 'unscanned')),
    -- What the scanner calls it.
    found      TEXT,
    created_at INTEGER NOT NULL,
    -- When the product took it, as far as the gate knows.
    taken_at   INTEGER,
    sealed     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX stored_upload_state_idx ON stored_upload (state, id);
CREATE INDEX stored_upload_untaken_idx ON stored_upload (created_at) WHERE taken_at IS NULL;
