-- What is known of each witness of the audit log, and which node asks it.
CREATE TABLE audit_witness (
    name TEXT NOT NULL PRIMARY KEY,
    witness_key TEXT NOT NULL,
    since INTEGER NOT NULL,
    -- Of the newest checkpoint that it signed.
    size INTEGER NOT NULL,
    signed_at INTEGER,
    next_at INTEGER NOT NULL,
    leased_until INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fault TEXT,
    -- 1 while it has a checkpoint that this log does not go on from.
    contradicts INTEGER NOT NULL,
    -- 1 while its last signature is too old, and somebody was told.
    late INTEGER NOT NULL
) STRICT;

-- Checkpoints with what witnesses signed under them: the newest ones.
CREATE TABLE audit_cosignature (
    witness TEXT NOT NULL,
    size INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,
    line TEXT NOT NULL,
    signed_at INTEGER NOT NULL,
    PRIMARY KEY (witness, size)
) STRICT;

CREATE INDEX audit_cosignature_by_size ON audit_cosignature (size);
