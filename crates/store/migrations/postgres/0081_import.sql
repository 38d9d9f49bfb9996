-- Who an account was in the product that it was taken over from.
CREATE TABLE user_reference (
    source      TEXT NOT NULL,
    external_id TEXT NOT NULL,
    user_id     UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (source, external_id)
);

CREATE INDEX user_reference_user_id_idx ON user_reference (user_id);

-- The session that this one takes the place of, until it is used for the first time.
ALTER TABLE session ADD COLUMN replaces UUID;
