-- Keys that seal fields of the product, one line of versions for each tenant and subject. What is kept
-- of a key is sealed itself. '' is: of no tenant, of no subject.
CREATE TABLE data_key (
    id         UUID   NOT NULL PRIMARY KEY,
    tenant     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    purpose    TEXT   NOT NULL CHECK (purpose IN ('seal', 'index')),
    version    BIGINT NOT NULL,
    wrapped    BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT,
    UNIQUE (tenant, subject, purpose, version)
);
