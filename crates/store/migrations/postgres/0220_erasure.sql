-- Persons whose data was erased, or is being erased: an id that names nobody any more, and what was destroyed.
CREATE TABLE erasure (
    subject     TEXT    NOT NULL PRIMARY KEY,
    begun_at    BIGINT NOT NULL,
    finished_at BIGINT,
    -- JSON: counts and ids of keys. Never an address.
    certificate TEXT
);
