-- When somebody was last told of a wanted scan stands beside it.
ALTER TABLE scan_wanted ADD COLUMN told_at INTEGER;
UPDATE scan_wanted SET told_at = (SELECT told_at FROM scan_told WHERE scan_told.name = scan_wanted.name);
DROP TABLE scan_told;
