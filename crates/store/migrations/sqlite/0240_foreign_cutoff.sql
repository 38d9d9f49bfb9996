-- Moments before which tokens of other issuers count for nothing, whoever comes with them: people who have
-- never been here have no row of their own that could say so. The newest counts.
CREATE TABLE foreign_cutoff (
    at INTEGER NOT NULL PRIMARY KEY
) STRICT;
