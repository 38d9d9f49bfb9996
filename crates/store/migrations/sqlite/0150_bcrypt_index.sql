-- Accounts whose hash was brought along, by its cost (`$2b$12$..`): asked for each minute, and few.
CREATE INDEX users_by_bcrypt_cost ON users (substr(password_hash, 5, 2)) WHERE substr(password_hash, 1, 2) = '$2';
