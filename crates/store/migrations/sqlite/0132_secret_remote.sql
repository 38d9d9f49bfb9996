-- How far each secret was carried to the store of somebody else (`[secret-store.remote]`). What waits is
-- nowhere written down: a secret whose version is above `carried`, or that has no row here.
CREATE TABLE secret_remote (
    secret_id      BLOB NOT NULL PRIMARY KEY REFERENCES stored_secret (id) ON DELETE CASCADE,
    -- Which store it is about: for another one all begins anew.
    store          TEXT NOT NULL,
    -- The version that was written there last, and what it is called there.
    carried        INTEGER NOT NULL,
    remote_version TEXT,
    -- How often a person said that what stands there is to be written over, and whether that is still to be done.
    pushes         INTEGER NOT NULL,
    overwrite      INTEGER NOT NULL,
    -- Since when something stands there that we did not write.
    drifted_at     INTEGER,
    attempts       INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    -- Until when a node has it.
    taken_until    INTEGER NOT NULL,
    failing_since  INTEGER,
    fault          TEXT,
    -- When it was last looked at there.
    checked_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
