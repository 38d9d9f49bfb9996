-- Persons whom the product alone knows and whose data was erased: under a keyed hash of what the product calls
-- them, and what was destroyed.
CREATE TABLE subject_erasure (
    name        TEXT   NOT NULL PRIMARY KEY,
    -- '' is: of no tenant.
    tenant      TEXT   NOT NULL,
    finished_at BIGINT NOT NULL,
    -- JSON: counts and ids of keys. Never a name.
    certificate TEXT   NOT NULL
);

-- The one that a transaction is erasing. Empty between transactions: what a person was called does not stay.
CREATE TABLE subject_being_erased (
    tenant  TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (tenant, subject)
);

-- Rows of the ledger go with their subject alone.
CREATE OR REPLACE FUNCTION consent_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT 1 FROM erasure WHERE subject = OLD.subject)
            OR EXISTS (SELECT 1 FROM subject_being_erased WHERE tenant = OLD.tenant AND subject = OLD.subject) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the consent ledger is append-only';
END
$$;
