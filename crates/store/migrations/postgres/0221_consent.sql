-- The consent ledger: what was agreed to, in which version, and taken back. Append-only: what counts is the
-- newest row of a subject and purpose. '' is: of no tenant.
CREATE TABLE consent (
    id      UUID   NOT NULL PRIMARY KEY,
    tenant  TEXT   NOT NULL,
    -- The id of an account, or what the product calls the person.
    subject TEXT   NOT NULL,
    purpose TEXT   NOT NULL,
    version TEXT   NOT NULL,
    state   TEXT   NOT NULL CHECK (state IN ('given', 'withdrawn')),
    at      BIGINT NOT NULL,
    -- Who wrote it down, such as `user:ID` or `api-key:ID`.
    source  TEXT   NOT NULL
);

CREATE INDEX consent_subject_idx ON consent (tenant, subject, purpose, at, id);

CREATE FUNCTION consent_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Rows go with their subject alone.
    IF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT 1 FROM erasure WHERE subject = OLD.subject) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the consent ledger is append-only';
END
$$;

CREATE TRIGGER consent_refuse_change BEFORE UPDATE OR DELETE ON consent
    FOR EACH ROW EXECUTE FUNCTION consent_refuse_change();
CREATE TRIGGER consent_refuse_truncate BEFORE TRUNCATE ON consent
    FOR EACH STATEMENT EXECUTE FUNCTION consent_refuse_change();
