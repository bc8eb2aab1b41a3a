-- The place of a message in its conversation, which the parts of one share; 0
-- for what has none. It tells receivers what they need not wait for.
ALTER TABLE outbox ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;

-- Parts of proposals and commits that exceed one envelope. A member has one of
-- them at a time.
CREATE TABLE handshake_parts (
    cid   BLOB NOT NULL,
    leaf  INTEGER NOT NULL,
    whole BLOB NOT NULL,
    idx   INTEGER NOT NULL,
    data  BLOB NOT NULL,
    PRIMARY KEY (cid, leaf, idx)
) STRICT, WITHOUT ROWID;
