-- Forms of the console that were sent and are taken once: only the hash of a form's token is kept.
CREATE TABLE spent_form (
    token_hash BYTEA  NOT NULL PRIMARY KEY,
    spent_at   BIGINT NOT NULL
);

CREATE INDEX spent_form_spent_at_idx ON spent_form (spent_at);

-- Lists of accounts, newest first, a page at a time.
CREATE INDEX users_created_at_idx ON users (created_at, id);
