-- People whom another issuer knows. Issuer and subject are who they are; an e-mail address is not.
CREATE TABLE foreign_identity (
    id         BLOB    NOT NULL PRIMARY KEY,
    issuer     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    UNIQUE (issuer, subject)
) STRICT;

CREATE INDEX foreign_identity_user_id_idx ON foreign_identity (user_id);
