-- How far each secret was carried to the store of somebody else (`[secret-store.remote]`). What waits is
-- nowhere written down: a secret whose version is above `carried`, or that has no row here.
CREATE TABLE secret_remote (
    secret_id      UUID NOT NULL PRIMARY KEY REFERENCES stored_secret (id) ON DELETE CASCADE,
    -- Which store it is about: for another one all begins anew.
    store          TEXT NOT NULL,
    -- The version that was written there last, and what it is called there.
    carried        BIGINT NOT NULL,
    remote_version TEXT,
    -- How often a person said that what stands there is to be written over, and whether that is still to be done.
    pushes         BIGINT NOT NULL,
    overwrite      BIGINT NOT NULL,
    -- Since when something stands there that we did not write.
    drifted_at     BIGINT,
    attempts       BIGINT NOT NULL,
    due_at         BIGINT NOT NULL,
    -- Until when a node has it.
    taken_until    BIGINT NOT NULL,
    failing_since  BIGINT,
    fault          TEXT,
    -- When it was last looked at there.
    checked_at     BIGINT NOT NULL
);
