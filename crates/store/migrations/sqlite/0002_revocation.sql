-- AUTOINCREMENT: a number is never used again, even after the newest rows were deleted.
CREATE TABLE revocation (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT    NOT NULL,
    subject BLOB    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;

CREATE INDEX revocation_at_idx ON revocation (at);
