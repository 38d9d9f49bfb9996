-- The consent ledger: what was agreed to, in which version, and taken back. Append-only: what counts is the
-- newest row of a subject and purpose. '' is: of no tenant.
CREATE TABLE consent (
    id      BLOB    NOT NULL PRIMARY KEY,
    tenant  TEXT    NOT NULL,
    -- The id of an account, or what the product calls the person.
    subject TEXT    NOT NULL,
    purpose TEXT    NOT NULL,
    version TEXT    NOT NULL,
    state   TEXT    NOT NULL CHECK (state IN ('given', 'withdrawn')),
    at      INTEGER NOT NULL,
    -- Who wrote it down, such as `user:ID` or `api-key:ID`.
    source  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX consent_subject_idx ON consent (tenant, subject, purpose, at, id);

CREATE TRIGGER consent_refuse_update BEFORE UPDATE ON consent
BEGIN
    SELECT RAISE(ABORT, 'the consent ledger is append-only');
END;

-- Rows go with their subject alone.
CREATE TRIGGER consent_refuse_delete BEFORE DELETE ON consent
WHEN NOT EXISTS (SELECT 1 FROM erasure WHERE subject = OLD.subject)
BEGIN
    SELECT RAISE(ABORT, 'the consent ledger is append-only');
END;

-- INSERT OR REPLACE deletes the old row without asking the trigger above, so a known id is passed over.
CREATE TRIGGER consent_refuse_replace BEFORE INSERT ON consent
WHEN EXISTS (SELECT 1 FROM consent WHERE id = NEW.id)
BEGIN
    SELECT RAISE(IGNORE);
END;
