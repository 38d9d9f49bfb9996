-- Sign-ins at a provider that came back: each counts once. The rest of what is known of one that is
-- under way is in the browser's address, sealed.
CREATE TABLE openid_login (
    flow_hash  BYTEA  NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE INDEX openid_login_expires_at_idx ON openid_login (expires_at);

-- Who vouched for a session, and the address that they said is verified. NULL for a local sign-in.
ALTER TABLE session ADD COLUMN openid_issuer TEXT;
ALTER TABLE session ADD COLUMN openid_email TEXT;

-- The same for a sign-in whose second factor is still to come, and when the provider saw the person.
ALTER TABLE sign_in_challenge ADD COLUMN openid_issuer TEXT;
ALTER TABLE sign_in_challenge ADD COLUMN openid_email TEXT;
ALTER TABLE sign_in_challenge ADD COLUMN authenticated_at BIGINT;
