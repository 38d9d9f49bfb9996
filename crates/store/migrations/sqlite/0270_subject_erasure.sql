-- Persons whom the product alone knows and whose data was erased: under a keyed hash of what the product calls
-- them, and what was destroyed.
CREATE TABLE subject_erasure (
    name        TEXT    NOT NULL PRIMARY KEY,
    -- '' is: of no tenant.
    tenant      TEXT    NOT NULL,
    finished_at INTEGER NOT NULL,
    -- JSON: counts and ids of keys. Never a name.
    certificate TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- The one that a transaction is erasing. Empty between transactions: what a person was called does not stay.
CREATE TABLE subject_being_erased (
    tenant  TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (tenant, subject)
) STRICT, WITHOUT ROWID;

-- Rows of the ledger go with their subject alone.
DROP TRIGGER consent_refuse_delete;
CREATE TRIGGER consent_refuse_delete BEFORE DELETE ON consent
WHEN NOT EXISTS (SELECT 1 FROM erasure WHERE subject = OLD.subject)
 AND NOT EXISTS (SELECT 1 FROM subject_being_erased WHERE tenant = OLD.tenant AND subject = OLD.subject)
BEGIN
    SELECT RAISE(ABORT, 'the consent ledger is append-only');
END;
