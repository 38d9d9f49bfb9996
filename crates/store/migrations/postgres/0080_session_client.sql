-- What kind of client signed in, and on which device: to tell when a session turns up in another one.
ALTER TABLE session ADD COLUMN client_kind BIGINT;
ALTER TABLE session ADD COLUMN device_mark BIGINT;

-- What the owner of an account is told on the account page until it is dismissed.
CREATE TABLE session_notice (
    id             UUID    NOT NULL PRIMARY KEY,
    user_id        UUID    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at             BIGINT NOT NULL,
    client         TEXT    NOT NULL,
    session_client TEXT    NOT NULL,
    client_address TEXT,
    outcome        TEXT    NOT NULL,
    dismissed_at   BIGINT
);

CREATE INDEX session_notice_user_id_idx ON session_notice (user_id, at);
