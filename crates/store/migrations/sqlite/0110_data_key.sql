-- Keys that seal fields of the product, one line of versions for each tenant and subject. What is kept
-- of a key is sealed itself. '' is: of no tenant, of no subject.
CREATE TABLE data_key (
    id         BLOB    NOT NULL PRIMARY KEY,
    tenant     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    purpose    TEXT    NOT NULL CHECK (purpose IN ('seal', 'index')),
    version    INTEGER NOT NULL,
    wrapped    BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER,
    UNIQUE (tenant, subject, purpose, version)
) STRICT, WITHOUT ROWID;
