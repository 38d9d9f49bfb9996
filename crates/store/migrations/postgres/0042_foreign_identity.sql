-- People whom another issuer knows. Issuer and subject are who they are; an e-mail address is not.
CREATE TABLE foreign_identity (
    id         UUID   NOT NULL PRIMARY KEY,
    issuer     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    user_id    UUID   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    UNIQUE (issuer, subject)
);

CREATE INDEX foreign_identity_user_id_idx ON foreign_identity (user_id);
