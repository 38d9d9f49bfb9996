-- The replacement of a secret, step by step, so that it can be left and taken up again. Of one secret one is
-- under way at a time.
CREATE TABLE secret_replacement (
    id          UUID NOT NULL PRIMARY KEY,
    secret_id   UUID NOT NULL REFERENCES stored_secret (id) ON DELETE CASCADE,
    begun_at    BIGINT NOT NULL,
    old_version BIGINT NOT NULL,
    new_version BIGINT,
    ended_at    BIGINT
);

CREATE UNIQUE INDEX secret_replacement_open_idx ON secret_replacement (secret_id) WHERE ended_at IS NULL;
CREATE INDEX secret_replacement_secret_id_idx ON secret_replacement (secret_id, begun_at);

CREATE TABLE secret_replacement_step (
    replacement_id UUID NOT NULL REFERENCES secret_replacement (id) ON DELETE CASCADE,
    -- 1 to 6, in this order.
    step           BIGINT NOT NULL CHECK (step BETWEEN 1 AND 6),
    done_at        BIGINT NOT NULL,
    done_by        TEXT NOT NULL,
    result         TEXT NOT NULL,
    PRIMARY KEY (replacement_id, step)
);
