-- A session that is idle is not in memory; the tags it expects next are here.
ALTER TABLE sessions ADD COLUMN idle INTEGER NOT NULL DEFAULT 0;
CREATE TABLE idle_tags (
    tag     BLOB PRIMARY KEY,
    session BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idle_tags_session ON idle_tags (session);
CREATE INDEX skipped_tag ON skipped (tag);
