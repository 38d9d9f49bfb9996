-- What is known of each witness of the audit log, and which node asks it.
CREATE TABLE audit_witness (
    name TEXT NOT NULL PRIMARY KEY,
    witness_key TEXT NOT NULL,
    since BIGINT NOT NULL,
    -- Of the newest checkpoint that it signed.
    size BIGINT NOT NULL,
    signed_at BIGINT,
    next_at BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    fault TEXT,
    -- 1 while it has a checkpoint that this log does not go on from.
    contradicts BIGINT NOT NULL,
    -- 1 while its last signature is too old, and somebody was told.
    late BIGINT NOT NULL
);

-- Checkpoints with what witnesses signed under them: the newest ones.
CREATE TABLE audit_cosignature (
    witness TEXT NOT NULL,
    size BIGINT NOT NULL,
    checkpoint TEXT NOT NULL,
    line TEXT NOT NULL,
    signed_at BIGINT NOT NULL,
    PRIMARY KEY (witness, size)
);

CREATE INDEX audit_cosignature_by_size ON audit_cosignature (size);
