-- The provider that vouched for the sign-in, as its session had it. Nothing: a password did.
ALTER TABLE token_family ADD COLUMN openid_issuer TEXT;
